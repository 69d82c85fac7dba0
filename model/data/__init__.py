"""Batches, windows, normalisation and the validation split."""

"""Trained models, prediction on new audio, and export."""

"""Trained models, prediction for new audio, and export."""

"""Scores of predictions, their intervals, and label-free model selection."""

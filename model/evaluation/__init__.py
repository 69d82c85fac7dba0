"""Scores of predictions, their intervals, and label-free choices of a model."""

"""Pretrained speech encoders: finding their weights, front ends, windows, and the hidden states of one window."""

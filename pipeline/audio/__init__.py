"""Decode, resample, trim and segment recordings."""

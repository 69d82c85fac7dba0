"""Cells carried out: here, by workers, side by side."""

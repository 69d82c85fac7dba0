"""Model cards, listing and comparison of runs."""

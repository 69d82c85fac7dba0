"""Choosing among snapshots of a training without a label of the target, and what the labels would have chosen."""

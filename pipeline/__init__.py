"""Floor 1: audio in, features out. Knows nothing of models."""

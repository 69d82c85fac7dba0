"""Floor 1: prepare the recordings of corpora as stores of features; independent of models."""

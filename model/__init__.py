"""Floor 2: train on feature stores, evaluate, predict."""

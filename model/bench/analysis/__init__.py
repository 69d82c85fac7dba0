"""What is worked out of trained models, and kept."""

"""The parts of the training loop: one step, its optimisers, what is saved and what is written down."""

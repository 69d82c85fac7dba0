"""The training loop: steps, optimisers, checkpoints, model snapshots and logs."""

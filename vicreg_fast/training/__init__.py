"""Training: the step, its optimisers and schedule, checkpoints, and the loop that puts them together."""

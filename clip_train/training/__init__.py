"""Shards to a model: set-up, the loop, and what both need: batches, loss, optimiser, checkpoints, ranks."""

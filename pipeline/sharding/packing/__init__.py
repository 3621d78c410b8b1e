"""Samples that were selected ► the shards that they lie in."""

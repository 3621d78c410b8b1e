"""From shards to batches: shards ► order ► decode ► loader."""

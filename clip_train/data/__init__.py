"""Images and texts as they lie in shards: shards ► order ► decode."""

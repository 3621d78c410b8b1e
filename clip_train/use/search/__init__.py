"""Features of whole shards as files, and the samples among them that fit a text or an image best."""

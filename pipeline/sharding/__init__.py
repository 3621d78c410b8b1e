"""Raw tars ► WebDataset shards, manifest and data card: the stage write-shards.

stored_samples  what a raw tar holds      scores   a model's scores, and their cut
selecting       which sample goes where   packing  plan ► shard
card            the data card             stage    options and steps
"""

from pipeline.sharding.stage import WriteShards as WriteShards

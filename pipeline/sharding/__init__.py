"""Raw tars ► WebDataset shards, manifest and data card: the stage write-shards.

selecting  which sample goes to which shard      card  the data card      stage  options, copying and wiring
"""

from pipeline.sharding.stage import WriteShards as WriteShards

"""Raw tars ► WebDataset shards, manifest and data card: the stage write-shards.

stored  what a raw tar holds      scores  a model's scores, and their cut      selecting  which sample goes where
card    the data card             stage   options, copying and wiring
"""

from pipeline.sharding.stage import WriteShards as WriteShards

"""Raw tars ► WebDataset shards, manifest and data card: the stage write-shards.

stored_samples  what raw tars hold         scores    a model's scores, and their cut
selecting       which samples stay         layout    which shard a sample goes to
planning        rows ► the plan of shards  ranges    bytes of raw tars, each read once
packing         plan ► shards              card      the data card
face_boxes      boxes of faces, joined     blurring  faces made unrecognisable
stage           options and steps
"""

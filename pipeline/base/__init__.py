"""What all stages stand on, without Beam: files, tables and the contracts between stages.

files  any file system, whole or not at all     options       fields that are flags    drops   reasons and counts
tables Parquet in and out                       schemas       tables between stages    folders  a stage's folder
arrays list columns, ``.npy``                   ids, packed   rows as numbers          funnel  counts in words
stage_folder  identity, resume, ``_stage.json``        flow   the stages by name       tar     members as bytes
shard_format  names in and around shards               matched_tables   pairs and the queries they hold
table_groups  tables read together, rows found in them      personal_data   what in texts is somebody's
"""

"""The stages between a web crawl and WebDataset shards, one file or folder each, in the order the data flows.

    vocabulary   dump, page views, WordNet ► queries          balancing   matched pairs ► at most `cap` a query
    extraction   archives, tables ► distinct pairs            fetching    balanced pairs ► raw tars and indexes
    matching     pairs ► pairs with the queries they hold     sharding    raw tars ► shards, manifest, data card

What stages share: ``schemas`` (tables between them), ``options``, ``drops`` (reasons and counts), ``files``,
``tables``, ``stages`` (skip, resume), ``shard_format``, ``report``; and ``archives``, ``bodies``, ``urls``,
``optouts`` (the web), ``tar_members``, ``ids``, ``query_lists`` (columns as numbers), ``matched_tables`` (pairs and
the queries they hold).
"""

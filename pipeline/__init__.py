"""The stages between a web crawl and WebDataset shards, one file each, in the order the data flows.

    vocabulary  dump, page views, WordNet ► queries         balancing   matched pairs ► at most t pairs a query
    pages       WARC, WAT, HTML ► candidate pairs           planning    balanced pairs ► fetch plans, by host
    pairs       candidates ► filtered, distinct pairs       fetching    plans ► raw tars and their indexes
    matching    pairs ► pairs with the queries they hold    images      bytes ► checked, resized images
                                                            selecting   indexes ► which sample goes to which shard
                                                            packing     raw tars ► final shards and manifest

Two stages meet only in ``schemas``; ``options``, ``drops``, ``files``, ``tables`` and ``stages`` serve all of them.
"""

"""Crawls and tables ► distinct pairs: the stage extract-pairs.

pages, html_segments, image_references, encodings  HTML ► candidates     wat        WAT records ► candidates
page_metadata  opt-outs and images in a page's head                      url_lists  tables ► candidates
filters, languages, contacts  which pairs are worth keeping              unit       one input unit ► pairs and counts
dedup, repeats, near_duplicates  rows that lose against others, found by losers over all inputs
inputs         files, lists of paths, parts of tables ► input units      stage      options and wiring
"""

from pipeline.extraction.stage import ExtractPairs as ExtractPairs

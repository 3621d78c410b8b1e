"""Crawls and tables ► distinct pairs: the stage extract-pairs.

pages, html_segments, image_references, encodings  HTML ► candidates     wat        WAT records ► candidates
page_metadata  opt-outs and images in a page's head                      url_lists  tables ► candidates
filters        which pairs are worth keeping                             unit       one input file ► pairs and counts
dedup          equal pairs over all inputs                               stage      options and wiring
"""

from pipeline.extraction.stage import ExtractPairs as ExtractPairs

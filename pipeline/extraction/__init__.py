"""Crawls and tables ► distinct pairs: the stage extract-pairs.

record_pages   records of archives ► pages, by these two:
pages, html_*, encodings   HTML ► candidates              wat, wat_*   WAT records ► candidates
image_references, page_metadata   which address is the image; opt-outs and images in a page's head
url_lists      tables ► candidates
unit           one input unit ► pairs and counts, by filters, languages, contacts: which pairs are worth keeping
dedup, repeats, near_duplicates   rows that lose against others, found by losers over all inputs
inputs         files, lists of paths, parts of tables ► input units
stage          options and wiring
"""

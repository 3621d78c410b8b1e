"""Crawls and tables ► distinct pairs: the stage extract-pairs.

record_pages   archives ► pages, by these two:
pages, html_*, encodings, prescan   HTML ► candidates     wat, wat_*   WAT records ► candidates
image_references, lazy_attributes, srcsets, media_queries   which address is the image
element_text, image_captions, microdata, page_metadata   texts of elements and who they belong to; opt-outs
json_ld, lenient_json   images that JSON-LD describes
url_lists, table_columns   tables ► candidates
unit           one input unit ► pairs and counts, by filters, file_names, languages, contacts: which pairs are worth
               keeping
dedup, repeats, near_duplicates   rows that lose against others, found by losers over all inputs
inputs         files, lists of paths, parts of tables ► input units
stage          options and wiring
"""

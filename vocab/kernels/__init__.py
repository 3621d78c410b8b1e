"""Loops over bytes and arrays that know nothing of what they are for; they import nothing else of ours.

compiled     how a function is compiled by numba, and whether that works here
standalone   the same for simple functions, which then run without numba
matching     texts ► ids of the queries in them           hashing      the constants of its hashes
chunks       text ► numbered chunks                        sums         tables of keys and numbers ► one, added up
compressed   compressed files ► runs of plain bytes, by    bz2_streams  bz2 ► those of its blocks, by bz2_blocks
members      gzip, zstd, xz ► runs of plain bytes          windows      a file looked at in any places, read forward
seven_zip    7z ► runs of plain bytes                      pieces       what they give
html_tokens  HTML ► tags, attributes, texts                html_tree    tags ► what is open around each
wat_records  records of a WAT ► lines of text of what is wanted

They lie inside `vocab`, the lowest package, because the packages at the top are given, and because a package called
``kernels`` at the top would be taken by transformers for another one of that name.
"""

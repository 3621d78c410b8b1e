"""The data card: what is in a set of shards, where it comes from and what was done to it, as a page and as files.

options    what people say of the set    counting   values of the indexes, counted
picking    samples to show               survey     both of them, over all shards
scores     what samples were chosen by   queries    pairs of each query
drawing    counts ► histograms           pictures   samples ► small images
manners    rules switched off, opt-outs  facts      all that the card is made of
page       facts ► card.html             readme     facts ► README.md
writing    all files of the card, made and made anew
"""

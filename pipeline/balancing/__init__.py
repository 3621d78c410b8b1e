"""Matched pairs ► at most `cap` pairs a query, exactly: the stages balance-pairs, balance-final and top-up-pairs.

lots      the hash that decides, and the cut among a query's     known     rows that an earlier crawl had
companions  the other pairs of selected images
caps      which cap; how likely a pair is to be kept             stage     balance-pairs: options and wiring
cutting   pairs ► the cut of every query                         final     balance-final: the cap among fetched images
keeping   cuts ► the pairs they select                           top_up    top-up-pairs: what to fetch next
sampling  pairs ► a sample, to solve the cap for a size          rules     what a folder was made by
pool      the tables of the pool
"""

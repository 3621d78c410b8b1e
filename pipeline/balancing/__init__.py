"""Matched pairs ► at most `cap` pairs a query, exactly: the stages balance-pairs and balance-final.

lots      the hash that decides, and the cut among a query's     known     pairs that an earlier crawl had
caps      which cap; how likely a pair is to be kept             stage     balance-pairs: options and wiring
cutting   pairs ► the cut of every query                         final     the cap among fetched images; top-up
keeping   cuts ► the pairs they select                           rules     what a folder was made by
sampling  pairs ► a sample, to solve the cap for a size          sources   tables and lots as files
"""

from pipeline.balancing.final import BalanceFinal as BalanceFinal
from pipeline.balancing.final import TopUpPairs as TopUpPairs
from pipeline.balancing.stage import BalancePairs as BalancePairs

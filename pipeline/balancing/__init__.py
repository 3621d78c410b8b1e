"""Matched pairs ► at most `cap` pairs a query, exactly: the stage balance-pairs.

lots  the hash that decides, and the cut among a query's hashes      stage  options and wiring
"""

from pipeline.balancing.stage import BalancePairs as BalancePairs

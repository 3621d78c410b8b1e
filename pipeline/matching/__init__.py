"""Pairs ► pairs with the queries that their text holds: the stage match-pairs."""

from pipeline.matching.stage import MatchPairs as MatchPairs

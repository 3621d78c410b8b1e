"""Which samples go in: rules in turn, by what the rows of indexes say."""

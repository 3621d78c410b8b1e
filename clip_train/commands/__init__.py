"""What each command does with its options, one file a command; `clip_train.__main__` only parses."""

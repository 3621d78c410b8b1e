"""Flags: what is said of each sample in a number, by name, for a pipeline to select by.

specs     NAME=SPEC ► the flags by name      prompts   texts for and against ► a share of the softmax
heads     weights of a head ► its scores     personal  personal data in texts, counted
reading   the share of an image under text   faces     a user's detector ► boxes of faces
"""

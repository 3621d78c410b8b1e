"""What a query is: from a Wikipedia dump, page views and WordNet to the query table, and from a text to its queries.

Pure code over strings, Arrow columns and numpy arrays: nothing here knows Beam, and a file is only opened through a
path or an opener that the caller gives.
"""

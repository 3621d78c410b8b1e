"""The vocabulary report: where the queries come from and what each threshold keeps, as one HTML page with pictures.

survey  the numbers of a source    page  facts to values    page.html.j2  its words
"""

"""The vocabulary report: where the queries come from and what each threshold keeps, as one HTML page with pictures.

survey  the numbers of a source      sections  what the page says      plots  its pictures      page.html.j2  its words
"""

"""The embedded default of wit400m: a small generated world and the whole flow on it.

    python -m jobs.demo --output demo-data

`scenes` decides what is on a picture, `drawing` paints it and `captions` says it in English; `wiki` and `crawl`
write the encyclopaedia and the web around them, `faults` what is wrong with that web, `world` lays all of it in a
folder and `server` answers for its hosts; `flow` runs the real commands on the folder and `summary` prints what
became of it. Every byte of the world is a function of a seed and a size.
"""

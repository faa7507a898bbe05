"""What harvester costs, measured: against other ways to do its job, over the size of a list, and against the clock.

The way in is `python -m bench`; how to read what comes out is in `docs/performance.md`. Nothing here is part of the
product. `figures` and `chart` are pure; `records`, `server` and `dois` are what is measured against; `processes` and
`launch` measure a process; `compare`, `scale`, `pace`, `costs` and `counts` are the
experiments.
"""

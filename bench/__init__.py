"""Measure what harvester costs: beside other tools, with long lists, at several rates, and from night to night.

`python -m bench` runs the experiments; `docs/performance.md` explains their figures. Nothing here is part of the
product. `figures` and `chart` are pure. `records`, `server` and `dois` make what is harvested, `processes` and
`launch` measure a process. The experiments are `compare`, `scale`, `pace`, `costs`, `counts` and `nights`.
"""

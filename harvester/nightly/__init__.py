"""The scheduled harvest: which works tonight, what a night remembers, its report, its files, old nights.

A night calls `harvest` with a list of works; the course of one run is not decided here.
"""

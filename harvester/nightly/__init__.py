"""The nightly harvest: which works to ask tonight, what a night remembers, its report, its files, old nights.

A night makes works due and calls `harvest`. The course of a run is decided there, not here.
"""

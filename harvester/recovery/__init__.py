"""The way back from a damaged ledger or output: a new ledger is made of what was harvested, and old files are kept.

`salvage` reads what can be read, `rebuild` makes the ledger, `recover` shows the plan and puts the files in place.
"""

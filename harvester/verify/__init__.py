"""The checker: whether ledger, output, failures and summary of a harvest agree with each other.

`gather` reads the files, `evidence` is what it finds, `checks` judges it. Nothing is changed.
"""

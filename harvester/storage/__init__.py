"""What survives a crash: the ledger, the output, and the one thread that writes them.

The tables of the nights are in the same ledger, but `nightly` knows what they mean. Lines are made in `records`.
"""

"""What survives a crash: the ledger, the output, and the one thread that writes them.

Nights keep their tables in the same ledger, but what they mean is said in `nightly`. Lines are made in `records`.
"""

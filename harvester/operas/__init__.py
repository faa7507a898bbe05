"""OPERAS Altmetrics: its client, what its answers mean, which DOIs and URLs it takes, and the registrar.

The registrar empties the outbox of a ledger through a protocol; the outbox itself is in `storage`.
"""

"""OPERAS Altmetrics: the client, what the answers mean, which DOIs and URLs are accepted, and the registrar.

The registrar empties the outbox of a ledger through a protocol; the outbox itself is in `storage`.
"""

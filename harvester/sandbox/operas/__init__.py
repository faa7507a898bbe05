"""The stand-in for OPERAS Altmetrics: accounts and tokens, what it accepts, and what it stores.

What is registered is kept in memory and forgotten at the end. No code is shared with harvester's client, so that a
wrong belief of the client cannot hide here.
"""

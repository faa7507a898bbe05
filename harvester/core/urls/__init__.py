"""Addresses of works: how they are cut out of a cell, and which of them are landing pages that may be registered.

Everything here is pure, but for the table of hosts, which is read once from a file beside the code. What is done with
an address is decided elsewhere.
"""

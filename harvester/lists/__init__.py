"""Lists of DOIs, in whatever format, encoding or compression, become works, invalid lines and blanks.

Nothing is fetched here, and nothing is stored.
"""

"""The way to the wire: one request goes out, one response comes back.

`messages` says what both are, `aiohttp` sends them; no other file of the product imports aiohttp. What is asked, how
often and how many times is decided in `providers`, `operas` and `politeness`.
"""

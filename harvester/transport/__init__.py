"""The way to the wire: one request goes out, one response comes back.

`messages` says what both are, `aiohttp` sends them; outside of the sandbox no other file imports aiohttp. What is
asked, how often and how many times is decided in `providers`, `operas` and `politeness`.
"""

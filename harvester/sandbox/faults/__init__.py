"""Faults on request: which request meets one, and how it looks on the wire.

`rates` decides which and when, `bodies` spoils answers, `connection` spoils connections. No single service is known
here: pages that differ between services come from their stand-ins.
"""

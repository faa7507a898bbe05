"""The stand-in for OPERAS: tokens, the uriset endpoint, and what it accepts.

It shares no code with the client, so that one cannot hide a mistake of the other.
"""

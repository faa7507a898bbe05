"""The stand-in for Paperbuzz: recorded and invented records, served as the real service does.

It shares no code with the client, so that one cannot hide a mistake of the other.
"""

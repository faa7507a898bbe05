"""The stand-in for Paperbuzz: how it reads a DOI out of a path, and which record it answers with.

Records are invented, and are the same for the same seed, DOI and simulated day. No code is shared with harvester's
client, so that a wrong belief of the client cannot hide here.
"""

"""Lists of DOIs, in many formats, encodings and compressions, read as works, invalid lines and blank lines.

This room fetches nothing and stores nothing.
"""

from harvester.lists.reader import ListOptions, check_options, fingerprint, read_list

__all__ = ["ListOptions", "check_options", "fingerprint", "read_list"]

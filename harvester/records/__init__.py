"""What a record says, and how records and failures are written down and read back.

Outcome, truncation, events, changes, the lines of the files and their schemas, compression: all of it pure.
Whose record it is, and where it is stored, is for other rooms.
"""

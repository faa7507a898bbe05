"""What a record says, and how records and failures are written down and read back.

Outcome, truncation, events, changes, the lines of the files and their schemas, compression: bytes and objects go in and
come out, and only reading a file back touches a disk. Which provider a record is from, and where it is stored, is for
other rooms.
"""

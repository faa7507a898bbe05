"""Settings: their names, types and defaults, and how file, environment and flags are merged into one `Settings`.

Also here: the account and password of OPERAS, and the text that `config show` prints. What follows from a setting is
decided in other rooms.
"""

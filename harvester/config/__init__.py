"""Settings: their names, types and defaults, and how file, environment and flags become one `Settings`.

Also the account and password of OPERAS, and the listing that `config show` prints. What a setting leads to is decided
elsewhere: below `cli`, `nightly` and the API no room takes a `Settings`.
"""

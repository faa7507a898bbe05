"""Where records come from: one file for each provider, behind the protocol in `base`.

A provider turns a DOI into a record or an error. How often it is asked is `politeness`, what happens to the record is
`harvest`.
"""

"""One run: read the lists, fetch, register, commit, sum up. The only room below `cli` that connects others.

It knows neither nights nor commands; they call it.
"""

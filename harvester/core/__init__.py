"""What every room may use: DOIs, works and their outcomes, errors, time, files, tasks, words.

`core` imports no other room. It knows no service, command or setting, and it uses no network.
"""

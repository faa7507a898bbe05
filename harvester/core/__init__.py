"""What every room may use: DOIs, the model of works and their outcomes, errors, time, files, tasks, words.

Nothing here knows a service, a command or a setting, and nothing asks a network. `core` imports nothing of ours.
"""

"""Formats whose entries are works: RIS and other tagged lines, BibTeX, XML, and JSON.

Each reader makes rows (`harvester.lists.rows`). What a table or a line of text holds is read beside this folder.
"""

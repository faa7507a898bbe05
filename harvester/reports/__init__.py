"""What people read afterwards: the summary of a run and the report of a night.

Data goes in, data or text comes out. Nothing is harvested or stored here.
"""

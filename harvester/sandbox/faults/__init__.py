"""Faults on request: which answers are spoiled, how often, and in what way."""

"""Harvest altmetrics from Paperbuzz for lists of DOIs and register them with OPERAS, exactly once."""

__all__ = ["__version__"]

__version__ = "0.1.0"

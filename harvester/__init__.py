"""Harvest altmetrics from Paperbuzz for lists of DOIs and register them with OPERAS, exactly once."""

from harvester.core.version import __version__

__all__ = ["__version__"]

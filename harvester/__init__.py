"""Harvest altmetrics from Paperbuzz for lists of DOIs and register them with OPERAS, exactly once.

Each folder is a room for one concern. What one room may import of another is written down in `pyproject.toml`.
"""

from harvester.core.version import __version__

__all__ = ["__version__"]

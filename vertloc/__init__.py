"""Vertebrae localization in spine CT by random-forest dense classification."""

__version__ = "0.1.0"

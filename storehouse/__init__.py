"""Storehouse: one Twisted process that takes in bytes, keeps them safely and gives them back fast."""

__all__ = ["__version__"]

__version__ = "0.1.0"

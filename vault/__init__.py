"""Secret Manager: stores passwords, keys and tokens."""

__version__ = "1.1.0"

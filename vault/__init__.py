"""Secret Manager: stores passwords, keys and tokens."""

__version__ = "0.1.0"

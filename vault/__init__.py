"""Secret Manager: stores passwords, keys and tokens."""

__version__ = "1.0.0"

"""Secret Manager: a small service that keeps other people's passwords, keys and tokens."""

__version__ = "0.1.0"

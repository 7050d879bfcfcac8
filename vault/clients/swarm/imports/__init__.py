"""Imports of Docker's own secrets."""

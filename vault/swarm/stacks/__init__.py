"""Checks of stack files."""

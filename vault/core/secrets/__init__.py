"""Secrets: creating, fetching, changing and listing them."""

"""Clients that third-party generators make from the API document, and its linters."""

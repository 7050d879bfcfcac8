"""Requests generated from the API document; `python -m tests.fuzz` sends many of them."""

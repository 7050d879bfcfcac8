"""Requests generated from the API document; `python -m tests.qa.fuzz` sends many of them."""

"""Faults injected into a whole deployment, and a check of what its clients saw: `python -m tests.faults`."""

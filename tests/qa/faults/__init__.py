"""Faults injected into a deployment, and a check of what its clients saw: `python -m tests.qa.faults`."""

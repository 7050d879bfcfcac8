"""Attacks next to honest clients; `python -m tests.qa.hostile` runs them at full size."""

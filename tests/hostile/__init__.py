"""Attacks next to honest clients; `python -m tests.hostile` runs them at full size."""

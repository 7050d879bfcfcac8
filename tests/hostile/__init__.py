"""Attacks of strangers beside honest clients; `python -m tests.hostile` runs them at full size."""

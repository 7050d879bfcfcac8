"""Attacks by strangers next to honest clients; `python -m tests.hostile` runs them at full size."""

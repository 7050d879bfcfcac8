"""Witnesses of the trail: they confirm checkpoints, out of reach of its database."""

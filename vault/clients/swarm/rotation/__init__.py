"""Rotation of a secret in running services."""

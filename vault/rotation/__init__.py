"""Rotation at the source: passwords change in the database that they open, without a failed login."""

"""Tests of what makes the load."""

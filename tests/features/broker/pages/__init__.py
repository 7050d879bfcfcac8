"""Tests of what the broker adds to the console."""

"""Tests of what exposure adds to the console."""

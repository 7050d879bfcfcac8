"""Tests of what custody adds to the console."""

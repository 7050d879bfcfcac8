"""Tests of `secret-manager audit witness`."""

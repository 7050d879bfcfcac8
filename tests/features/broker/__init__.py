"""Tests of the broker's feature."""

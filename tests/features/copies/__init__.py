"""Tests of `vault.features.copies`."""

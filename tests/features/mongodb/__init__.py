"""Tests of `vault.features.mongodb`."""

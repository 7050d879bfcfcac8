"""Tests of `vault.features.custody`."""

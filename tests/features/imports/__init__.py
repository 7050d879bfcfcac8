"""Tests of `vault.features.imports`."""

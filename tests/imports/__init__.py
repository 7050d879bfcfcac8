"""Tests of `vault.imports`."""

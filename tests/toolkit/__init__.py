"""Tests of `vault.toolkit`."""

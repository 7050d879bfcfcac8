"""Tests of `vault.custody`."""

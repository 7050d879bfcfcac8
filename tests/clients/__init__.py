"""Tests of `vault.clients`."""

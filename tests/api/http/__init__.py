"""Tests of `vault.api.http`."""

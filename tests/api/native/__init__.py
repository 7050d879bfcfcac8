"""Tests of `vault.api.native`."""

"""Tests of `vault.api.site`."""

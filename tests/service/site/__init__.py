"""Tests of `vault.service.site`."""

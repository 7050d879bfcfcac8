"""Tests of `vault.service.api`."""

"""Tests of `vault.clients.delivery`."""

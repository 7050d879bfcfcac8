"""Tests of `vault.clients.people`."""

"""Tests of `vault.clients.dev.command`."""

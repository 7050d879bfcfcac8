"""Tests of `vault.clients.swarm.imports`."""

"""Tests of `vault.clients.swarm`. Those with Docker itself are in tests/qa/deployment."""

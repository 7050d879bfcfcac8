"""Tests of `vault.swarm`. Those with Docker itself are in tests/qa/deployment."""

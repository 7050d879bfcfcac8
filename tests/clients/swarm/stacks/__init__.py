"""Tests of `vault.clients.swarm.stacks`."""

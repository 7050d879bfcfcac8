"""Tests of `vault.clients.swarm.rotation.rotation`."""

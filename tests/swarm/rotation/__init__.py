"""Tests of `vault.swarm.rotation.rotation`."""

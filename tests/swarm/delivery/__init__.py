"""Tests of `vault.swarm.delivery`."""

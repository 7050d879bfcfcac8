"""Tests of `vault.swarm.stacks`."""

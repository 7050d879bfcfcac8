"""Tests of `vault.swarm.imports`."""

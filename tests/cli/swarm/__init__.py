"""Tests of `vault.cli.swarm.group`."""

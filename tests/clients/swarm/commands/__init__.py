"""Tests of `vault.clients.swarm.commands.group`."""

"""Tests of `vault.service.commands`."""

"""Tests of `vault.service.commands.audit`."""

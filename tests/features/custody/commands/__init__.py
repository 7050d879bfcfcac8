"""Tests of `vault.features.custody.commands`."""

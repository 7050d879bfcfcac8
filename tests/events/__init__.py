"""Tests of `vault.events`."""

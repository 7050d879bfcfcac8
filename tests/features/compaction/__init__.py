"""Tests of `vault.features.compaction`."""

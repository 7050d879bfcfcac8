"""Tests of rotation that need an engine or long time."""

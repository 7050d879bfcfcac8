"""Tests that need an engine, root, other programs or long time; `.ci/nightly` runs them."""

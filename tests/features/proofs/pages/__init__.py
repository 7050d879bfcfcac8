"""Tests of what proofs add to the console."""

"""Tests of proofs: witnesses of the trail, and what their answers prove."""

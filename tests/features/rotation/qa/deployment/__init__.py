"""Tests of rotations next to a swarm."""

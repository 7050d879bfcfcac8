"""Tests of the Swarm follower of rotations."""

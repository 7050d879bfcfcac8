"""Tests of the deployment on a swarm."""

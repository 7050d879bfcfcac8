"""The deployment on a swarm: it is made, updated and checked from a manager, and its keys are rotated."""

"""The deployment, on a real engine in swarm mode."""

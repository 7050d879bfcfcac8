"""Commands for secrets of Docker Swarm's services."""

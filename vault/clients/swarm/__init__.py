"""Docker Swarm's secret driver: a client of the HTTP API that runs on the managers of a swarm."""

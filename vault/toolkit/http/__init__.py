"""HTTP: credentials, bodies, connections, refusals and the log of requests."""

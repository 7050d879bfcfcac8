"""Pages and probes: documentation, problems, health and metrics."""

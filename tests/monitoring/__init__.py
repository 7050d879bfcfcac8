"""Monitoring of the service: alerts, dashboard, and the stack that runs them."""

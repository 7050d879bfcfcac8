"""Deliveries: the plugin that Docker asks for the secrets of services."""

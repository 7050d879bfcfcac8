"""The promises of the service, each held by a test."""

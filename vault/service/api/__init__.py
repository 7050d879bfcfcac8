"""The REST API, under `/vault/`."""

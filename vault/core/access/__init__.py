"""Authentication and authorization: tokens, and what features add."""

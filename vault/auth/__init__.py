"""Authentication and authorization: tokens and JWTs."""

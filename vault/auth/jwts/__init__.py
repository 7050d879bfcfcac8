"""JWTs: their issuers, the roles that they match, and their verification."""

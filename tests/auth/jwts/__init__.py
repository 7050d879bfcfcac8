"""Tests of `vault.auth.jwts`."""

"""Tests of JWTs, their issuers, and roles."""

"""Shared helpers of the tests: servers, clients, stored data and checks."""

"""Tests of the page of roles."""

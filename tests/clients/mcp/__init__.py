"""Tests of the command `mcp`."""

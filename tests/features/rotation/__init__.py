"""Tests of rotation at the source."""

"""Tests of the pages of links."""

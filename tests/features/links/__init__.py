"""Tests of links: shares, and requests for values."""

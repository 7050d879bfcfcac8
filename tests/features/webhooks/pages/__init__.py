"""Tests of the page of webhooks."""

"""Tests of webhooks that take long or depend on chance."""

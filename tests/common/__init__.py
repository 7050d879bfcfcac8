"""Tests of what every floor may use."""

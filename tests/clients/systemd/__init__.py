"""Tests of credentials for units of systemd."""

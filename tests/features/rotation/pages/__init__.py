"""Tests of pages of rotation."""

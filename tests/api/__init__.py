"""Tests of the floor or folder of the same name."""

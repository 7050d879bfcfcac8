"""Tests of the commands of exposure."""

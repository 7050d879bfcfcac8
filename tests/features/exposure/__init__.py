"""Tests of exposure, offboardings and the report."""

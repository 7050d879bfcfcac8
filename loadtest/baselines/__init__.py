"""Baseline services for the benchmark, each small and as fast as its design allows."""

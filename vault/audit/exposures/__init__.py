"""Exposures: which principal knows which value, by the entries of the trail."""

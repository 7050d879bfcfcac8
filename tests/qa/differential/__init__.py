"""Programs against OpenBao and this service: what they see is the same, except for a list of differences."""

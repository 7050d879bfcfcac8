"""Building blocks that every floor may use."""

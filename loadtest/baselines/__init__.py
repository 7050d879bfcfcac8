"""Services that the bench holds this one against; each small, and as fast as its design allows."""

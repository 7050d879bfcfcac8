"""Sources: the servers in which passwords change."""

"""Units of systemd, which load their credentials from a socket of this product."""

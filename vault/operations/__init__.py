"""What the service does, without HTTP. Whoever acts is an argument, never ambient."""

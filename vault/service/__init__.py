"""What every installation serves: the HTTP API, and commands."""

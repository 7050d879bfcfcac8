"""What every floor may use, and knows nothing of the service."""

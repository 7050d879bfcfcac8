"""Programs that use the service over HTTP and never import it."""

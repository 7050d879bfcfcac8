"""What the faces of the service are made of."""

"""The command `dev`: the service and a MongoDB of its own, for trying and developing."""

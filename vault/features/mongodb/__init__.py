"""MongoDB's replica set and the service's user in it, created and shown by commands."""

from vault.common.feature import Command, Feature

FEATURE = Feature(
    name="mongodb",
    commands={
        "replicaset": Command(
            "vault.features.mongodb.commands:replicaset",
            "MongoDB's replica set: create it, show it, grant privileges.",
        )
    },
)

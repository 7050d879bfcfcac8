"""The rows of MongoDB's commands in the tables of general tests."""

from tests.support.command_entries import Entry, Needs, of_mongodb

ENTRIES = {
    "replicaset grant": of_mongodb("--admin-uri-file", "admin-uri", own_test=True),
    "replicaset initiate": of_mongodb(
        *("--key-file", "key", "--root-password-file", "password"),
        impatient=("--timeout", "1s"),
        own_test=True,
    ),
    "replicaset status": Entry(Needs.PROBED),
}

#: Values that let a command end at once if a server does not answer.
IMPATIENT = {
    "vault.features.mongodb.replicaset._STEP_MILLISECONDS": 50,
    "vault.features.mongodb.replicaset._STATUS_MILLISECONDS": 50,
    "vault.features.mongodb.service_user._TIMEOUT_MILLISECONDS": 50,
}

#: The kinds of errors that only commands have.
IN_COMMANDS = {"replica_set"}

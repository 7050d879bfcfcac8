"""`secret-manager keys custody`: the keyring file, its slots and shares."""

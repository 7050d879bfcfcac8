"""Custody of the master keys: the keyring file, and the providers that wrap and unwrap its keys."""

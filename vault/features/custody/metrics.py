"""The metrics of custody."""

from vault.common.observability.metrics import gauge

SLOT_UP = gauge("custody_slot_up", "1 if the slot opens every key of the keyring file, else 0.", ["slot"])

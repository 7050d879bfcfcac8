"""Encryption of values under master keys; knows neither Flask nor MongoDB."""

from vault.core.crypto.binding import Binding
from vault.core.crypto.keyring import Keyring
from vault.core.crypto.master_key import MasterKey

__all__ = ["Binding", "Keyring", "MasterKey"]

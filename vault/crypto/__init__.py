"""Encryption of values under master keys; knows neither Flask nor MongoDB."""

from vault.crypto.binding import Binding
from vault.crypto.keyring import Keyring
from vault.crypto.master_key import MasterKey

__all__ = ["Binding", "Keyring", "MasterKey"]

"""The providers of a start: one for each KEK, with only the settings of its own scheme."""

import pytest

from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.keyring_file import Slot
from vault.features.custody.providers import Providers

SETTINGS = {
    "PKCS11_PIN": "1234",
    "PKCS11_MODULE": "/module.so",
    "TRANSIT_TOKEN": "token",
    "AWS_ACCESS_KEY_ID": "AKID",
}
KEKS = {
    "command": "/bin/cat",
    "transit": "https://bao:8200/v1/transit/keys/sm",
    "awskms": "arn:aws:kms:eu-central-1:111122223333:alias/sm",
    "pkcs11": "pkcs11:token=sm;object=kek-1",
    "tpm2": "tpm2:pcrs=7",
    "recovery": "3 of 5",
}


def test_each_scheme_has_its_provider() -> None:
    """All schemes have distinct providers, and slots of one KEK share theirs."""
    with Providers(SETTINGS) as providers:
        made = {scheme: providers.of(Slot("a", scheme, kek)) for scheme, kek in KEKS.items()}
        assert len({type(provider) for provider in made.values()}) == 5
        assert providers.of(Slot("b", "transit", KEKS["transit"])) is made["transit"]
        with pytest.raises(CustodyRefusedError, match="no scheme other") as caught:
            providers.of(Slot("a", "other", "kek"))
        assert all(scheme in caught.value.hint for scheme in KEKS)


def test_the_keys_of_a_token_share_its_login_and_see_no_other_settings() -> None:
    """Two KEKs of a scheme share one child, which gets the settings of that scheme alone."""
    with Providers(SETTINGS) as providers:
        one, two = (providers.of(Slot("a", "pkcs11", f"pkcs11:token=sm;object={name}")) for name in "ab")
        assert vars(one)["_library"] is vars(two)["_library"]
        assert vars(one)["_library"]._settings == {"PKCS11_PIN": "1234", "PKCS11_MODULE": "/module.so"}

"""The settings of custody: the keyring file, and the providers'."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from marshmallow import ValidationError, fields, validate

from vault.common.config import sources
from vault.common.config.fields import raw, setting
from vault.common.config.settings import raw_values, single
from vault.common.processes import CREDENTIALS

#: Those of the providers, apart from them: their libraries take time to load. Those of AWS have AWS's names.
_OF_PROVIDERS = (
    *(*CREDENTIALS, "AWS_ACCESS_KEY_ID", "PKCS11_MODULE", "TRANSIT_CA"),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_KMS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodySettings:
    """The place of the keyring file, and the settings of its providers."""

    master_keyring_file: str | None = setting(
        fields.String(load_default=None),
        "instead of `MASTER_KEY` and its fallbacks, the path of the [keyring file](custody.md), whose keys "
        "providers unwrap; their own settings are on that page",
        topic="Master key and MongoDB",
    )
    custody_timeout_seconds: int = setting(
        fields.Integer(load_default=300, validate=validate.Range(1, 86_400)),
        "how long a start retries providers of [custody](custody.md#a-start) that do not answer, 1 to 86400",
    )
    custody_check_seconds: int = setting(
        fields.Integer(load_default=900, validate=validate.Range(1, 86_400)),
        "the interval of the checks of all slots of the keyring file, 1 to 86400",
    )
    #: The settings of the providers, by name.
    custody: Mapping[str, str] = raw(_OF_PROVIDERS, secret=("PKCS11_PIN", "TRANSIT_TOKEN"))

    @staticmethod
    def check(values: Mapping[str, str]) -> None:
        """Refuse a keyring file whose opening would not be recorded, and whose slots no one would check."""
        off = values.get("FEATURES_OFF", "").replace(" ", "").split(",")
        if "MASTER_KEYRING_FILE" in values and "custody" in off:
            raise ValidationError({"MASTER_KEYRING_FILE": ["needs custody, which is in FEATURES_OFF."]})


def keyring_path() -> Path:
    """Return the setting `MASTER_KEYRING_FILE`, for commands that need no key.

    Raises:
        SettingsError: It is unset.
    """
    file: str | None = single("MASTER_KEYRING_FILE")
    if file is None:
        raise sources.refusal({"MASTER_KEYRING_FILE": ["is required: the path of the keyring file."]})
    return Path(file)


def custody_settings() -> dict[str, str]:
    """Return the settings of the providers, by name, for commands that need no key.

    Raises:
        SettingsError: One cannot be read.
    """
    return raw_values(_OF_PROVIDERS)

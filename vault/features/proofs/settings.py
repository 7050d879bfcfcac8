"""The settings of witnesses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from marshmallow import ValidationError, fields, validate

from vault.common.config import shown, tls_files
from vault.common.config import validators as forms
from vault.common.config.fields import setting


class Urls(fields.Field[tuple[str, ...]]):
    """URLs of witnesses, separated by commas: `tsa+https://…` or `witness+https://…`."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[str, ...]:
        urls = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        if not all(map(_is_witness, urls)):
            raise ValidationError(
                "must be tsa+https://… or witness+https://…, separated by commas, without user names; http "
                "only on this machine."
            )
        return urls


def _is_witness(text: str) -> bool:
    kind, _, url = text.partition("+")
    unwanted = {"tsa": {"#"}, "witness": {"#", "?"}}.get(kind)
    try:
        forms.public_url(url)
    except ValidationError:
        return False
    return unwanted is not None and unwanted.isdisjoint(url)


def _without_credentials(urls: Iterable[str]) -> list[str]:
    return [shown.url(url) for url in urls]


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSettings:
    """The witnesses of the trail."""

    audit_witnesses: tuple[str, ...] = setting(
        Urls(load_default=()),
        "[witnesses](evidence.md#witnesses) of the trail, separated by commas: `tsa+https://…`, and at most"
        " one `witness+https://…`",
        topic="Audit trail",
        shown=_without_credentials,
        is_decisive=True,
        is_protective=True,
    )
    audit_witness_minutes: int = setting(
        fields.Integer(load_default=60, validate=validate.Range(1, 10_080)),
        "the interval in which they confirm a checkpoint, 1 to 10080",
        is_protective=True,
    )
    audit_witness_token: str | None = setting(
        fields.String(load_default=None, validate=forms.credential),
        "the token at the other installation",
        is_secret=True,
        is_protective=True,
    )
    audit_witness_ca: str | None = setting(
        fields.String(load_default=None, validate=tls_files.authorities),
        "a file with certificates to trust in place of the system's, for all witnesses",
        is_protective=True,
    )

    @staticmethod
    def check_values(values: Mapping[str, Any]) -> None:
        """Refuse witnesses without a trail, or that need a package or a token that is not there."""
        urls = values["AUDIT_WITNESSES"]
        if urls and not values["AUDIT_ENABLED"]:
            raise ValidationError({"AUDIT_WITNESSES": ["requires AUDIT_ENABLED=true."]})
        if any(url.startswith("tsa+") for url in urls) and find_spec("rfc3161_client") is None:
            raise ValidationError(
                {"AUDIT_WITNESSES": ["requires the extra witness of the package for tsa+https://…."]}
            )
        installations = sum(url.startswith("witness+") for url in urls)
        if installations > 1:
            # The token is one of a single installation: another one would learn it.
            raise ValidationError({"AUDIT_WITNESSES": ["must have at most one witness+https://…."]})
        if installations and not values["AUDIT_WITNESS_TOKEN"]:
            raise ValidationError({"AUDIT_WITNESS_TOKEN": ["is required with witness+https://…."]})

    @staticmethod
    def doubts(values: Mapping[str, Any]) -> Iterator[str]:
        """Yield a phrase for each setting without effect."""
        for name in ("AUDIT_WITNESS_TOKEN", "AUDIT_WITNESS_CA"):
            if values[name] and not values["AUDIT_WITNESSES"]:
                yield f"{name} has no effect without AUDIT_WITNESSES"

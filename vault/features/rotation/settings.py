"""The settings of rotation."""

from dataclasses import dataclass

from marshmallow import fields, validate

from vault.common.config import validators as forms
from vault.common.config.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationSettings:
    """The times of the runner, and the programs that it may start."""

    rotation_check_seconds: int = setting(
        fields.Integer(load_default=15, validate=validate.Range(1, 3_600)),
        "seconds between two looks for passwords to [change](rotation.md), 1 to 3600",
        topic="Rotation",
    )
    rotation_step_seconds: int = setting(
        fields.Integer(load_default=10, validate=validate.Range(1, 30)),
        "timeout of a step at a source, 1 to 30 seconds",
    )
    rotation_commands: tuple[str, ...] = setting(
        forms.Programs(load_default=()),
        "absolute paths of programs that may change passwords, separated by commas",
    )

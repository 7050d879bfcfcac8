"""The field for the use rules of a secret: of a new one, of a change, and of a description."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.common.text import ONE_LINE_PATTERN
from vault.core.crypto.encoding import canonical
from vault.core.principal import Scope
from vault.features.broker.rules import (
    FORMAT_PATTERN,
    HEADER_PATTERN,
    HOST_PATTERN,
    MAX_FORMAT_CHARACTERS,
    MAX_HEADER_CHARACTERS,
    MAX_HOST_CHARACTERS,
    MAX_HOSTS,
    MAX_PATH_CHARACTERS,
    MAX_PATHS,
    MAX_RULES,
    MAX_RULES_BYTES,
    MAX_USER_CHARACTERS,
    METHODS,
    PATH_PATTERN,
    format_flaw,
    header_flaw,
    host_flaw,
    path_flaw,
    plain_host,
    user_flaw,
)
from vault.toolkit.document.fields import (
    TEXT,
    Body,
    BoundedList,
    Item,
    Reply,
    choice_field,
    flawless,
    neither_nor_both,
    objects_field,
    text_field,
    texts_field,
)

HOST, METHOD, PATH = "api.stripe.com", "POST", "/charges"
_HOSTS, _METHODS, _PATHS = [HOST], ["GET", METHOD], [PATH, "/refunds/"]
_HEADER, _FORMAT, _USER = "Authorization", "Bearer {}", "deploy"

_HOSTS_ARE = "Hosts to which the value may go: exact names, with a port unless that is 443."
_PATHS_ARE = "Paths: exact ones, and prefixes that end in a slash; `/` alone is every path."
_FORMAT_IS = "The header's value, with `{}` for the secret's value, or `{field}` for a text in a JSON object."
_BASIC_IS = "In place of `header` and `format`: the user of basic authentication, with the value as password."


def host_field(description: str, **options: Any) -> fields.String:
    """Return a field for a host in a request, with its documentation."""
    return text_field(
        description,
        HOST,
        shape={"pattern": HOST_PATTERN},
        validate=[validate.Length(1, MAX_HOST_CHARACTERS), flawless(host_flaw)],
        **options,
    )


def method_field(description: str, **options: Any) -> fields.String:
    """Return a field for a method in a request, with its documentation."""
    return choice_field(description, METHOD, METHODS, **options)


def path_field(description: str, **options: Any) -> fields.String:
    """Return a field for a path of a URL in a request, with its documentation."""
    return text_field(
        description,
        PATH,
        shape={"pattern": PATH_PATTERN},
        validate=[validate.Length(1, MAX_PATH_CHARACTERS), flawless(path_flaw)],
        **options,
    )


def _list(item: fields.String, max_size: int, description: str, example: list[str]) -> BoundedList:
    return BoundedList(
        item,
        max_size=max_size,
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": description, "example": example},
    )


class NewUseRule(Body):
    """Where a value may go, and in which header."""

    refused: ClassVar = {
        "anyOf": [
            *neither_nor_both(header=TEXT, basic=TEXT),
            {"required": ["header"], "properties": {"header": TEXT, "format": {"not": TEXT}}},
            {"required": ["format"], "properties": {"format": TEXT, "header": {"not": TEXT}}},
        ]
    }

    hosts = _list(host_field("A host."), MAX_HOSTS, _HOSTS_ARE, _HOSTS)
    methods = _list(method_field("A method."), len(METHODS), "The methods of requests.", _METHODS)
    paths = _list(path_field("A path."), MAX_PATHS, _PATHS_ARE, _PATHS)
    header = text_field(
        "The header with the value.",
        _HEADER,
        shape={"pattern": HEADER_PATTERN},
        validate=[validate.Length(1, MAX_HEADER_CHARACTERS), flawless(header_flaw)],
    )
    format = text_field(
        _FORMAT_IS,
        _FORMAT,
        shape={"pattern": FORMAT_PATTERN},
        validate=[validate.Length(1, MAX_FORMAT_CHARACTERS), flawless(format_flaw)],
    )
    basic = text_field(
        _BASIC_IS,
        # An example of the whole has no `basic` beside `header`.
        None,
        shape={"pattern": ONE_LINE_PATTERN},
        validate=[validate.Length(0, MAX_USER_CHARACTERS), flawless(user_flaw)],
    )

    @validates_schema
    def _one_header(self, data: dict[str, Any], **_: Any) -> None:
        given = data.keys() & {"header", "format", "basic"}
        if given not in ({"header", "format"}, {"basic"}):
            raise ValidationError("Set `header` and `format`, or `basic`.", "header")

    @post_load
    def _plain(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return data | {"hosts": list(map(plain_host, data["hosts"]))}


def _not_large(rules: list[dict[str, Any]]) -> None:
    if len(canonical({"": rules})) > MAX_RULES_BYTES:
        raise ValidationError(f"Must take at most {MAX_RULES_BYTES} bytes as JSON.")


def _rules(description: str) -> BoundedList:
    return BoundedList(
        Item(NewUseRule),
        max_size=MAX_RULES,
        load_default=None,
        validate=_not_large,
        metadata={"description": description},
    )


class UseRuleReply(Reply):
    """Where a value may go, and in which header."""

    hosts = texts_field(_HOSTS_ARE, _HOSTS)
    methods = texts_field("The methods of requests.", _METHODS)
    paths = texts_field(_PATHS_ARE, _PATHS)
    header = text_field("The header with the value; missing with `basic`.", _HEADER, required=False)
    format = text_field(_FORMAT_IS, _FORMAT, required=False)
    basic = text_field(_BASIC_IS, _USER, required=False)


_RIGHT = f"They require the scope `{Scope.SECRET_FETCH}`, too, and are not encrypted."


def create() -> dict[str, fields.Field[Any]]:
    """Return the field of a new secret."""
    return {
        "use_rules": _rules(
            f"Up to {MAX_RULES} rules by which a broker uses the value for those who never get it. The "
            f"secret needs a name, and a value of at least 8 bytes. {_RIGHT}"
        )
    }


def change() -> dict[str, fields.Field[Any]]:
    """Return the field of a change."""
    return {
        "use_rules": _rules(
            "The new use rules, which replace all others; an empty list removes them. If omitted, they do "
            f"not change. {_RIGHT}"
        )
    }


def reply() -> dict[str, fields.Field[Any]]:
    """Return the field of a description."""
    return {"use_rules": objects_field(UseRuleReply, "The use rules; empty for none.")}

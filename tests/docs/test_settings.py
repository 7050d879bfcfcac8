"""docs/settings.md lists the settings, and the stack takes them."""

import re
from typing import Any

from tests.docs.documents import ROOT
from tests.docs.generated import require_generated
from vault.common.config.fields import declared_in
from vault.common.config.settings import Settings, declared

_TABLE = "| name | meaning | default |\n| --- | --- | --- |\n"


def default_of(name: str, value: Any) -> str:
    if name == "MASTER_KEY":
        return "required"
    if value in (None, ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def tables() -> str:
    """Return each section with its settings; those of features may belong to a section of the core."""
    settings = Settings.from_mapping({"MASTER_KEY": "32 characters that are the key.."})
    sections: dict[str, str] = {}
    for part in (settings, *settings.features.values()):
        topic = ""
        for name, one in declared_in(type(part)).items():
            topic = one.topic or topic
            assert topic, f"{name} needs a topic"
            default = default_of(name, getattr(part, name.lower()))
            sections.setdefault(topic, _TABLE)
            sections[topic] += f"| `{name}` | {one.sentence} | {default} |\n"
    return "\n".join(f"## {topic}\n\n{table}" for topic, table in sections.items())


def test_the_document_lists_every_setting() -> None:
    """docs/settings.md has the meaning and the default of every setting, and no other setting."""
    require_generated("docs/settings.md", "settings", tables())


def test_every_setting_can_be_exported() -> None:
    """The stack takes each setting from the deploying shell, except the address, TLS, and that of drills."""
    service = (ROOT / "stack.yml").read_text().partition("      # settings: begin\n")[0]
    with_default = set(re.findall(r"^      ([A-Z_]+):", service, re.MULTILINE))
    taken = [name for name in declared() if name not in with_default | {"BIND", "DRILL_MONGO_URI"}]
    lines = [f"      {name}:\n" for name in taken if not name.startswith("TLS_")]
    require_generated("stack.yml", "settings", "".join(lines))

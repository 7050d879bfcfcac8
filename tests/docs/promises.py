"""The tests of each promise: `python -m tests.docs.promises` prints all marked tests."""

import ast
import re
from collections.abc import Iterable, Iterator

from tests.docs.documents import DOCUMENTS, ROOT, headings

PROMISES = "docs/promises.md"

#: A heading of the page by the key of its marker: its number, or its first word.
HEADINGS: dict[object, str] = {}
for _heading in headings(DOCUMENTS[PROMISES])[1:]:
    [_key] = re.findall(r"^\w+", _heading)
    HEADINGS[int(_key) if _key.isdigit() else _key.lower()] = _heading


def marked() -> Iterator[tuple[object, str]]:
    """Yield each key of a marker with the name of its test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if "@pytest.mark.promise(" in source:
            for node in ast.parse(source).body:
                for decorator in getattr(node, "decorator_list", []):
                    if ast.unparse(decorator).startswith("pytest.mark.promise("):
                        for key in decorator.args:
                            yield ast.literal_eval(key), f"{path.relative_to(ROOT).as_posix()}::{node.name}"


def listed(marked: Iterable[tuple[object, str]]) -> str:
    """Return the list: the headings of the page, each with its tests."""
    tests: dict[object, list[str]] = {key: [] for key in HEADINGS}
    for key, name in marked:
        tests[key].append(name)
    parts = ["".join(f"{line}\n" for line in [HEADINGS[key], *names]) for key, names in tests.items()]
    return "\n".join(parts)


if __name__ == "__main__":
    print(listed(marked()), end="")  # noqa: T201 - the command

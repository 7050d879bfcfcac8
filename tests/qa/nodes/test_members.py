"""The comparison of members, without a swarm."""

import pytest

from tests.qa.nodes.members import Member, are_in_step


@pytest.mark.parametrize(
    ("states", "written", "expected"),
    [
        (("secondary", "primary", "secondary"), (70, 71, 70), True),
        (("secondary", "primary", "secondary"), (70, 80, 79), False),
        (("secondary", "primary", "silent"), (70, 70, 0), False),
        (("secondary", "secondary", "secondary"), (70, 70, 70), False),
        (("secondary", "primary", "other"), (70, 70, 70), False),
    ],
    ids=["in step", "one behind", "one silent", "no primary", "one recovering"],
)
def test_members_in_step(states: tuple[str, ...], written: tuple[int, ...], expected: bool) -> None:
    """All must answer and have the newest writes, and one must be the primary."""
    found = [
        Member(f"mongodb-{number}", *state) for number, state in enumerate(zip(states, written, strict=True))
    ]
    assert are_in_step(found) is expected
    assert not are_in_step([])

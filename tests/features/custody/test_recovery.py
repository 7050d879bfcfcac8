"""Recovery slots: wrapped for people without them, opened with them only."""

from secrets import token_bytes

import pytest

from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.provider import context_of
from vault.features.custody.recovery import Recovery

KEY, CONTEXT = token_bytes(32), context_of("0" * 16)


def test_a_key_is_wrapped_without_people_and_opened_with_them() -> None:
    """A blob is enough to wrap another key for the same people; their secret opens both."""
    people = Recovery("3 of 5", secret=token_bytes(32))
    blob = people.wrap(KEY, CONTEXT)
    anyone = Recovery("3 of 5", blob=blob)
    other = token_bytes(32)
    assert people.opens
    assert not anyone.opens
    assert people.unwrap(blob, CONTEXT).material == KEY
    assert people.unwrap(anyone.wrap(other, CONTEXT), CONTEXT).material == other
    assert people.describe(blob) == ""
    people.close()
    with pytest.raises(CustodyRefusedError, match="only with shares"):
        people.unwrap(blob, CONTEXT)


@pytest.mark.promise(7)
def test_a_forged_blob_opens_nothing() -> None:
    """Other people's secret, another context, and a changed or cut blob are refused."""
    secret = token_bytes(32)
    people = Recovery("3 of 5", secret=secret)
    blob = people.wrap(KEY, CONTEXT)
    for provider, content, context in (
        (Recovery("3 of 5", secret=token_bytes(32)), blob, CONTEXT),
        (people, blob, context_of("1" * 16)),
        (people, blob[:-1] + bytes([blob[-1] ^ 1]), CONTEXT),
        (people, blob[:100], CONTEXT),
        (Recovery("2 of 5", secret=secret), blob, CONTEXT),
    ):
        with pytest.raises(CustodyRefusedError):
            provider.unwrap(content, context)


@pytest.mark.promise(7)
def test_an_exchanged_public_key_is_noticed() -> None:
    """A writer to the file cannot have the next key wrapped for themselves."""
    blob = Recovery("3 of 5", secret=token_bytes(32)).wrap(KEY, CONTEXT)
    thief = Recovery("3 of 5", secret=token_bytes(32)).wrap(token_bytes(32), CONTEXT)
    Recovery("3 of 5", blob=blob).require_own(blob, KEY)
    with pytest.raises(CustodyRefusedError, match="exchanged"):
        Recovery("3 of 5", blob=thief).require_own(thief, KEY)
    with pytest.raises(CustodyRefusedError, match="damaged"):
        Recovery("3 of 5", blob=b"\0" * 10).wrap(KEY, CONTEXT)

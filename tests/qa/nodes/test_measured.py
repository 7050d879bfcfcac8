"""The figures of a loss, without a swarm."""

from tests.qa.faults.history import BUSY, NOT_SENT, UNKNOWN, Request
from tests.qa.nodes.measured import impact, percentile


def request(
    answered: float, status: int = 200, *, took: float = 0.1, action: str = "fetch", text: str = ""
) -> Request:
    return Request("id", action, "a", {}, answered - took, answered, status, text)


def every(seconds: float, *, since: float, until: float, action: str) -> list[Request]:
    """Return fast answers in that rhythm."""
    count = int((until - since) / seconds)
    return [request(since + number * seconds, action=action) for number in range(count)]


def test_silence_is_between_answers_of_one_kind() -> None:
    """Writes and reads have their own silence, and a failure is not an answer."""
    requests = [
        *every(0.5, since=0, until=4, action="fetch"),
        *every(0.5, since=6, until=10, action="fetch"),
        *every(0.5, since=0, until=3, action="update"),
        request(5, 503, action="update"),
        request(5.5, UNKNOWN, action="update"),
        request(6, NOT_SENT, action="update"),
        *every(0.5, since=7.5, until=10, action="create"),
    ]
    effect = impact(requests, 0, 10)
    assert (effect.writes, effect.reads) == (5, 2.5)


def test_silence_lasts_from_the_loss_to_the_end_without_answers() -> None:
    """Without any answer between the two moments, all of the time is silence."""
    effect = impact([request(1), request(31)], 10, 30)
    assert (effect.writes, effect.reads) == (20, 20)


def test_a_refusal_that_is_known_is_an_answer() -> None:
    """A 404 or 409 needs the storage as well, so it ends a silence."""
    requests = [request(4, 404), request(5, 409, action="update")]
    effect = impact(requests, 0, 10)
    assert (effect.reads, effect.writes) == (6, 5)


def test_answers_are_slow_until_the_last_slow_second() -> None:
    """The last second with a slow answer counts, also after fast ones."""
    requests = every(0.1, since=0, until=20, action="fetch")
    assert impact(requests, 0, 20).slow_until == 0
    effect = impact([*requests, request(2.5, took=0.6), request(7.5, took=0.6)], 0, 20)
    assert (effect.slow_until, effect.slow) == (8, 2)
    assert impact([*requests, request(7.5, took=0.4)], 0, 20).slow_until == 0
    assert impact([*requests, request(7.5, 503, took=3)], 0, 20).slow_until == 0


def test_a_second_without_answers_is_slow() -> None:
    """A silent second counts as slow."""
    requests = [
        *every(0.1, since=0, until=5, action="fetch"),
        *every(0.1, since=9, until=20, action="fetch"),
    ]
    effect = impact(requests, 0, 20)
    assert (effect.slow_until, effect.slow) == (9, 4)


def test_one_slow_answer_in_a_hundred_is_allowed() -> None:
    """The 99th percentile ignores the slowest of a hundred."""
    assert percentile([0.1] * 99 + [9]) == 0.1
    assert percentile([0.1] * 98 + [9, 9]) == 9
    assert percentile([9]) == 9


def test_the_time_of_refusals() -> None:
    """The time to a 503 is measured, except if another change of the secret is its reason."""
    requests = [request(1, 503, took=0.5), request(2, 503, took=1), request(3, 503, took=3)]
    effect = impact([*requests, request(4, 503, took=4, text=BUSY)], 0, 10)
    assert (effect.refused, effect.refused_worst) == (1, 3)
    assert (impact([], 0, 1).refused, impact([], 0, 1).refused_worst) == (0, 0)

"""A witness's answer is about the checkpoint, or refused; its failure names its host."""

import json
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificates
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

import vault.features.proofs
from tests.features.proofs.time_stamps import Authority, authority
from tests.support.rotation import new_key
from vault.common.errors import SettingsError
from vault.common.outcomes import Exit
from vault.core.crypto import Keyring, encoding
from vault.core.trail.streams import checkpoint
from vault.features.proofs import counter_signature, time_stamps
from vault.features.proofs import witness as witness_module
from vault.features.proofs.errors import WitnessError
from vault.features.proofs.witness import Witness

pytestmark = pytest.mark.process

MADE = {"ts": "2026-11-24T12:00:00.000Z", "heads": [], "retired": []}


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority."""
    with authority(tmp_path_factory.mktemp("tsa") / "tsa") as found:
        yield found


def witness(url: str, ca_file: str | None = None) -> Witness:
    """Return the witness at *url*."""
    return Witness(url, "token", ca_file)


@pytest.mark.parametrize("path", ["", "/stamp?key=secret"])
def test_a_time_stamp_proves_when_a_checkpoint_existed(tsa: Authority, path: str) -> None:
    """The time stamp verifies by the authority's CA and the checkpoint, and by no other of either."""
    answer = witness(tsa.url + path).confirm(MADE, 0)
    assert list(answer) == ["time_stamp"]
    stamp = b64decode(answer["time_stamp"])
    authorities = load_pem_x509_certificates(Path(tsa.ca).read_bytes())
    assert time_stamps.verified_time(stamp, encoding.canonical(MADE), authorities).tzinfo
    with pytest.raises(ValueError, match="Mismatch between messages"):
        time_stamps.verified_time(stamp, encoding.canonical({**MADE, "retired": ["aa"]}), authorities)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda reply: (500, reply, {}), "answers with status 500"),
        (lambda _: (302, b"", {"Location": "http://127.0.0.1:1"}), "answers with status 302"),
        (lambda reply: (200, reply[:-9], {}), "sends no usable time stamp: ASN.1 parse error"),
        (
            lambda _: (200, bytes.fromhex("30053003020102"), {}),
            "sends no usable time stamp: no time",
        ),
        (lambda reply: (200, reply + b" " * 70_000, {}), "sends a reply of more than 65536 bytes"),
    ],
    ids=["failed", "redirect", "cut", "refused", "large"],
)
def test_another_reply_is_no_answer(
    tsa: Authority, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[bytes], object], said: str
) -> None:
    """A failure, a redirect, and a reply without a time stamp are refused, with the host and the reason."""
    monkeypatch.setattr(tsa, "tamper", tamper)
    one = witness(tsa.url)
    with pytest.raises(WitnessError) as caught:
        one.confirm(MADE, 0)
    assert str(caught.value).startswith(f"{one.host} {said}")
    assert caught.value.exit_code is Exit.UNAVAILABLE


def test_a_time_stamp_of_another_request_is_no_answer(
    tsa: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time stamp that was made before, or of something else, or was not granted, is refused."""
    first = time_stamps.request_for(encoding.canonical(MADE))
    earlier = tsa.reply(first.as_bytes())
    time_stamps.check(earlier, first)
    monkeypatch.setattr(tsa, "tamper", lambda _: (200, earlier, {}))
    with pytest.raises(WitnessError, match="the time stamp is of something else"):
        witness(tsa.url).confirm(MADE, 0)


def test_a_time_stamp_without_certificates_is_no_answer(tsa: Authority) -> None:
    """A time stamp that no one could verify later is refused."""
    wanted = TimestampRequestBuilder().data(b"1").hash_algorithm(HashAlgorithm.SHA256)
    request = wanted.cert_request(cert_request=False).build()
    with pytest.raises(ValueError, match="no one could verify"):
        time_stamps.check(tsa.reply(request.as_bytes()), request)


def test_an_unavailable_witness_is_named(tmp_path: Path) -> None:
    """Neither a witness that does not answer nor a missing file of certificates is a defect."""
    for url in ("tsa+http://127.0.0.1:1/secret", "witness+http://127.0.0.1:1"):
        with pytest.raises(WitnessError, match=r"127\.0\.0\.1:1.* cannot be reached"):
            witness(url).confirm(MADE, 0)
    with pytest.raises(WitnessError, match="AUDIT_WITNESS_CA cannot be read"):
        witness("tsa+https://tsa.example", str(tmp_path / "missing")).confirm(MADE, 0)


def test_an_answer_about_another_checkpoint_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose reply is no counter-signature of this checkpoint has not confirmed it."""
    monkeypatch.setattr(witness_module.Service, "call", lambda *_: {"digest": "other"})
    with pytest.raises(WitnessError, match="another reply"):
        witness("witness+http://127.0.0.1:1").confirm(MADE, 0)


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "more",
    [{"more": 2**70}, {"a.b\0": 1}, {"more": json.loads("[" * 200 + "]" * 200)}, {"sender": 2**70}],
    ids=["number", "name", "depth", "type"],
)
def test_an_answer_with_anything_else_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Nothing of another installation's choice gets into an entry: that could make whole commits fail."""
    keyring = Keyring(new_key())
    made = counter_signature.make("site-a", checkpoint.digest(MADE), keyring)
    monkeypatch.setattr(witness_module.Service, "call", lambda *_: checkpoint.signed(made | more, keyring))
    with pytest.raises(WitnessError, match="another reply"):
        witness("witness+http://127.0.0.1:1").confirm(MADE, 0)


def test_a_changed_time_stamp_proves_the_same_or_nothing(tsa: Authority) -> None:
    """A time stamp with any change proves its time, or is refused."""
    stamp = tsa.reply(time_stamps.request_for(encoding.canonical(MADE)).as_bytes())
    authorities = load_pem_x509_certificates(Path(tsa.ca).read_bytes())
    proved = time_stamps.verified_time(stamp, encoding.canonical(MADE), authorities)
    random = Random(1)  # noqa: S311 - must be repeatable
    for _ in range(300):
        changed = bytearray(stamp)
        for _ in range(random.choice((1, 1, 2, 9))):
            changed[random.randrange(len(changed))] = random.randrange(256)
        del changed[random.choice((len(changed), random.randrange(len(changed)))) :]
        with suppress(ValueError):
            assert time_stamps.verified_time(bytes(changed), encoding.canonical(MADE), authorities) == proved


def test_a_time_stamp_with_another_certificate_is_refused(tsa: Authority) -> None:
    """A certificate of a version that does not exist proves nothing, and stops no verification."""
    stamp = tsa.reply(time_stamps.request_for(encoding.canonical(MADE)).as_bytes())
    # An authority can sign any certificate.
    signer = Path(tsa.ca).with_name("tsa.pem")
    authorities = [
        one for path in (Path(tsa.ca), signer) for one in load_pem_x509_certificates(path.read_bytes())
    ]
    version_3 = bytes.fromhex("a003020102")
    assert version_3 in stamp
    changed = stamp.replace(version_3, bytes.fromhex("a00302010a"))
    with pytest.raises(ValueError, match="10 is not a valid X509 version"):
        time_stamps.verified_time(changed, encoding.canonical(MADE), authorities)


def test_time_stamps_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional package, the error says how to install it."""
    monkeypatch.delattr(vault.features.proofs, "time_stamps")
    monkeypatch.setitem(sys.modules, "vault.features.proofs.time_stamps", None)
    with pytest.raises(SettingsError, match=r"the extra witness of the package"):
        witness_module.time_stamps()


def test_the_name_of_a_witness_has_no_query() -> None:
    """A query can have a credential: logs, entries and MongoDB get the URL without it."""
    one = witness("tsa+https://tsa.example:8443/a?key=secret")
    assert (one.name, one.host) == ("tsa+https://tsa.example:8443/a", "tsa.example:8443")
    assert "token" not in repr(one)

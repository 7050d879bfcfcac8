"""`secret-manager serve`."""

from pathlib import Path

from tests.service import Service

#: Modules that the service loads at its start and later, and optional ones of its libraries.
_PLANTED = (
    "gunicorn",
    "gevent",
    "vault",
    "flask",
    "mongoengine",
    "prometheus_client",
    "snappy",
    "bson",
    "json",
)
_SAFE = ("-P", "-m", "vault.cli", "serve")


def test_modules_of_the_working_folder_do_not_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Write access to the working folder does not run code with the service's master key."""
    folder = tmp_path / "working"
    for name in _PLANTED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            f"import os\nos.close(os.open({str(tmp_path / 'ran-')!r} + __name__, os.O_CREAT))\n"
            "raise SystemExit('a planted module ran')\n"
        )
    with Service(environment, folder=folder, command=_SAFE) as service:
        service.wait_until("/health/ready")
        assert service.fetch(service.create(b"value")).status == 200
    assert not list(tmp_path.glob("ran-*"))

"""A host that serves a model keeps the version that an alias names, whole, and no other."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.auth import Scope, create_key
from app.http import Parts
from app.settings import Settings
from app.tables import DEFAULT_TENANT, Version
from carried_out import carry_out
from expunge import Client
from expunge.dsse import keys_of
from expunge.errors import ExpungeError, Forbidden, ModelSignatureInvalid, NotFound
from expunge.model_signature import verify_folder
from expunge.pull import Want, alone_in, pull, settle
from running_service import Service, add_worker, register_model, serve, weights_bytes
from up_tree import environment

MODEL = "digits-model"
FILES = ["README.md", "ml-bom.cdx.json", "model.sig", "weights.safetensors"]


@pytest.fixture
def service(tmp_path: Path, sqlite_database_url: str) -> Iterator[Service]:
    for running in serve(Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url)):
        with running.database.write() as session, session.begin():
            add_worker(session)
            register_model(session, running.parts.storage)
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """A host's own: it may do nothing else."""
    with Client(service.base_url, service.key(Scope.VERSIONS_FOLLOW), tries=2) as client:
        yield client


def forget(service: Service, instance: str) -> None:
    """Have another version put into service."""
    with Client(service.base_url, service.admin_key) as admin:
        admin.requests.create(MODEL, instances=[instance])
    carry_out(service.parts)


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_the_version_of_the_alias_is_in_place_whole_and_signed(
    client: Client, tmp_path: Path
) -> None:
    to = tmp_path / "models"
    keys = keys_of(client.ledger.jwks())
    first = pull(client, Want(MODEL, "production", to, keys))
    assert first.is_new
    assert visible(to) == ["current", first.version.id]
    assert sorted(p.name for p in (to / "current").iterdir()) == FILES
    assert (to / "current" / "weights.safetensors").read_bytes() == weights_bytes()
    assert os.readlink(to / "current") == first.version.id, "the folder may be moved"
    assert verify_folder(to / "current", keys).name == f"{MODEL}/{first.version.id}"
    settle(to, first, 0)
    assert not pull(client, Want(MODEL, "production", to, keys)).is_new


def test_what_the_new_version_has_forgotten_does_not_stay(
    service: Service, client: Client, tmp_path: Path
) -> None:
    want, seen = Want(MODEL, "production", tmp_path / "models"), []
    for keep, instance in ((0, "i-1"), (1, "i-2"), (0, "i-3")):
        pulled = pull(client, want)
        settle(want.folder, pulled, keep)
        seen.append(pulled.version.id)
        assert visible(want.folder) == ["current", *seen[-1 - keep :]]
        forget(service, instance)


def test_a_download_that_was_interrupted_goes_on(
    service: Service, client: Client, tmp_path: Path
) -> None:
    want = Want(MODEL, "production", tmp_path / "models")
    version = client.versions.get(MODEL, "production")
    incoming = want.folder / ".incoming" / version.id
    stale = want.folder / ".incoming" / "ver_stale"
    for folder in (incoming, stale):
        folder.mkdir(parents=True)
    part = incoming / f".weights.safetensors.{version.weights.sha256[:16]}.part"
    part.write_bytes(weights_bytes()[:40])
    told: list[int] = []
    pulled = pull(client, want, lambda done, _: told.append(done))
    assert (pulled.folder / "weights.safetensors").read_bytes() == weights_bytes()
    assert told[0] > 40
    assert list((want.folder / ".incoming").iterdir()) == []
    with Client(service.base_url, service.admin_key) as admin:
        assert [taken.version for taken in admin.models.recipients(MODEL)] == [version.id]


def test_a_damaged_file_is_fetched_again(client: Client, tmp_path: Path) -> None:
    want = Want(MODEL, "production", tmp_path / "models")
    weights = pull(client, want).folder / "weights.safetensors"
    weights.write_bytes(b"rotten")
    pull(client, want)
    assert weights.read_bytes() == weights_bytes()


def test_files_that_nobody_trusted_has_signed_are_not_put_in_place(
    client: Client, tmp_path: Path
) -> None:
    want = Want(MODEL, "production", tmp_path / "models", {})
    with pytest.raises(ModelSignatureInvalid, match="not among those known"):
        pull(client, want)
    assert visible(want.folder) == []


def test_without_the_scope_the_next_version_is_refused_and_the_former_stays(
    service: Service, tmp_path: Path
) -> None:
    want = Want(MODEL, "production", tmp_path / "models")
    with Client(service.base_url, service.key(Scope.VERSIONS_DOWNLOAD)) as client:
        first = pull(client, want)
        forget(service, "i-1")
        with pytest.raises(Forbidden, match="you took version 1 before"):
            pull(client, want)
    assert visible(want.folder) == ["current", first.version.id]


def test_what_is_in_the_way_is_told_in_a_sentence(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no alias 'nowhere'"):
        pull(client, Want(MODEL, "nowhere", tmp_path / "models"))
    (tmp_path / "models" / "current").mkdir(parents=True)
    with pytest.raises(ExpungeError, match="current is no symbolic link"):
        pull(client, Want(MODEL, "production", tmp_path / "models"))
    with (
        alone_in(tmp_path / "models"),
        pytest.raises(ExpungeError, match="another process pulls into"),
        alone_in(tmp_path / "models"),
    ):
        pass


class Host:
    """`expunge versions pull --watch` as a process, whose lines can be read one by one."""

    def __init__(self, url: str, key: str, to: Path) -> None:
        hook = "import os; open('seen', 'a').write(os.environ['EXPUNGE_VERSION'] + ' ')"
        (to.parent / "hook.py").write_text(hook)
        self.process = subprocess.Popen(
            (
                *(sys.executable, "-m", "expunge", "versions", "pull", MODEL, "--watch", "--json"),
                *("--to", str(to), "--exec", f"{sys.executable} hook.py"),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=to.parent,
            env=environment(EXPUNGE_URL=url, EXPUNGE_API_KEY=key),
        )

    def next(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return str(json.loads(line)["version"])


@contextmanager
def uvicorn(settings: Settings, port: int) -> Iterator[str]:
    """The service as a process of its own, which a signal ends as in production."""
    named = {"STATE_DIR": str(settings.state_dir), "DATABASE_URL": settings.database_url}
    process = subprocess.Popen(
        (sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(**{f"EXPUNGE_{name}": value for name, value in named.items()}),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_host_follows_the_alias_over_a_restart_of_the_service(
    tmp_path: Path, sqlite_database_url: str
) -> None:
    settings = Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url)
    parts = Parts(settings)
    with parts.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, parts.storage)
        host_key = create_key(
            session, parts.hasher, DEFAULT_TENANT, "host", [Scope.VERSIONS_FOLLOW]
        )[1]
        admin_key = create_key(session, parts.hasher, DEFAULT_TENANT, "admin", [Scope.ADMIN])[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    to = tmp_path / "models"
    with uvicorn(settings, port) as url:
        with Client(url, admin_key) as admin:
            admin.requests.create(MODEL, instances=["i-1"])
        host = Host(url, host_key, to)
        assert host.next() == model.version_id
    carry_out(parts)
    with uvicorn(settings, port):
        second = host.next()
        _until(lambda: visible(to) == ["current", second])
        host.process.send_signal(signal.SIGINT)
        _, told = host.process.communicate(timeout=60)
    assert host.process.returncode == 130
    assert "no service answers" in told
    assert (tmp_path / "seen").read_text().split() == [model.version_id, second]
    with parts.database.read() as session:
        assert session.get_one(Version, second).number == 2
    assert sorted(p.name for p in (to / "current").iterdir()) == FILES
    parts.database.dispose()

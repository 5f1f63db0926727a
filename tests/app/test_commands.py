"""`python -m app`, as it is typed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from app import webhook_commands
from app.db import Database, database_now
from app.services import checkup
from app.settings import Settings
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, LedgerEvent, WebhookEndpoint
from app.webhooks.secret_box import PLAIN_SECRETS
from running_service import register_model

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'expunge.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def run(tmp_path: Path, url: str) -> Run:
    environment = {
        **os.environ,
        "EXPUNGE_STATE_DIR": str(tmp_path / "state"),
        "EXPUNGE_DATABASE_URL": url,
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


@pytest.mark.slow
def test_an_installation_is_set_up_and_checked(run: Run, url: str, tmp_path: Path) -> None:
    assert run("db", "current").stdout == "none\n"
    old = run("check")
    assert old.returncode == 1
    assert "run `db upgrade`" in old.stderr
    assert run("db", "check").returncode == 1
    assert run("db", "upgrade").returncode == 0
    assert run("db", "check").returncode == 0
    made = run("keys", "create", "--name", "first", "--scopes", "admin, ledger:read", "--json")
    assert json.loads(made.stdout)["scopes"] == ["admin", "ledger:read"]
    assert json.loads(made.stdout)["key"].startswith("exp_")
    storage = LocalStorage(tmp_path / "state" / "files")
    database = Database(url)
    with database.write() as session, session.begin():
        registered = register_model(session, storage)
    well = run("check")
    assert well.returncode == 0, well.stderr
    assert f"note: {PLAIN_SECRETS}" in well.stderr
    file = next(p for p in (tmp_path / "state" / "files").rglob("*") if p.is_file())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with database.write() as session, session.begin():
        session.execute(update(LedgerEvent).values(body=LedgerEvent.body.op("||")(" ")))
    database.dispose()
    figures = tmp_path / "expunge.prom"
    ill = run("check", "--metrics-file", str(figures))
    assert ill.returncode == 1
    assert 'expunge_check_faults{part="ledgers"} 1.0' in figures.read_text()
    assert 'expunge_check_faults{part="files"} 1.0' in figures.read_text()
    assert 'expunge_check_faults{part="schema"} 0.0' in figures.read_text()
    assert f"weights of version {registered.version_id} were altered" in ill.stderr
    assert "ledger of tenant default: event 1 was changed" in ill.stderr
    assert run("db", "downgrade", "base").returncode == 0
    assert run("db", "current").stdout == "none\n"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_command_that_cannot_be_done_says_why_in_one_sentence(run: Run) -> None:
    run("db", "upgrade")
    unknown = run("keys", "create", "--name", "x", "--scopes", "everything")
    assert unknown.returncode == 1
    assert "'everything' is not a valid Scope" in unknown.stderr
    stranger = run("keys", "create", "--name", "x", "--scopes", "admin", "--tenant", "nobody")
    assert stranger.stderr == "there is no tenant 'nobody'\n"
    assert json.loads(run("openapi").stdout)["info"]["title"] == "Expunge"


def test_webhook_secrets_are_sealed_by_command(
    tmp_path: Path, sqlite_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sqlite_database_url)
    with database.write() as session, session.begin():
        session.add(
            WebhookEndpoint(
                id="whk_1",
                tenant_id=DEFAULT_TENANT,
                url="https://hooks.example.org/",
                kinds=[],
                cursor=0,
                secret=bytes(32),
                created_at=database_now(session),
            )
        )
    settings = Settings(state_dir=tmp_path, database_url=sqlite_database_url)
    monkeypatch.setattr(webhook_commands, "get_settings", lambda: settings)
    run = CliRunner()
    refused = run.invoke(webhook_commands.app, ["seal"])
    assert (refused.exit_code, "is not set" in refused.output) == (1, True)
    assert list(checkup.notes(database, settings)) == [PLAIN_SECRETS]
    file = tmp_path / "keys"
    file.write_text(run.invoke(webhook_commands.app, ["new-key"]).output)
    settings.webhook_key_file = file
    assert "not sealed with the first key" in next(checkup.notes(database, settings))
    sealed = run.invoke(webhook_commands.app, ["seal"])
    assert sealed.output == "the secrets of 1 webhook endpoints were sealed with the first key\n"
    assert list(checkup.notes(database, settings)) == []
    with database.read() as session:
        assert len(session.get_one(WebhookEndpoint, "whk_1").secret) > 32
    database.dispose()

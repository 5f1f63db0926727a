"""The command line as a process, against a real service that has one model and no worker."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from app.db import database_now
from app.settings import Settings
from app.tables import Worker
from expunge.state import Connection, write_connection
from running_service import Registered, Service, add_worker, register_model, serve
from up_tree import environment


class Shell:
    """Runs `expunge` against the service."""

    def __init__(self, service: Service, registered: Registered, state: Path) -> None:
        self.service = service
        self.registered = registered
        self.state = state

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "expunge", *words),
            capture_output=True,
            text=True,
            env=environment(EXPUNGE_STATE_DIR=str(self.state), **settings),
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> object:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("shell")
    file = shutil.copy(_migrated_sqlite, folder / "expunge.db")
    settings = Settings(state_dir=folder / "service", database_url=f"sqlite:///{file}")
    for service in serve(settings):
        with service.database.write() as session, session.begin():
            add_worker(session)
            registered = register_model(session, service.parts.storage)
        (folder / "client").mkdir()
        write_connection(folder / "client", Connection(service.base_url, service.admin_key))
        yield Shell(service, registered, folder / "client")


@pytest.fixture(autouse=True)
def _live_worker(shell: Shell) -> None:
    """A worker that says nothing for 90 s counts as gone; this module may take longer."""
    with shell.service.database.write() as session, session.begin():
        session.execute(update(Worker).values(seen_at=database_now(session)))


def test_the_version_is_printed(shell: Shell) -> None:
    assert shell.run("--version").stdout.startswith("expunge ")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("up",),
        ("serve",),
        ("worker",),
        ("db", "upgrade"),
        ("demo",),
        ("doctor",),
        ("models", "create"),
        ("versions", "register"),
        ("requests", "create"),
        ("holds", "place"),
        ("jobs", "list"),
        ("keys", "create"),
        ("ledger", "verify"),
        ("receipts", "verify"),
    ],
)
def test_every_command_explains_itself(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run(*words, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout or "usage" in done.stdout


def test_a_model_is_listed_and_shown(shell: Shell) -> None:
    (model,) = shell.json("models", "list")  # type: ignore[misc]
    assert model["name"] == shell.registered.name
    shown = shell.run("models", "get", shell.registered.name)
    assert shell.registered.name in shown.stdout
    assert "digits" in shown.stdout


def test_a_model_is_made(shell: Shell) -> None:
    made = shell.run("models", "create", "second", "--workload", "digits", "--options", "{}")
    assert made.returncode == 0, made.stderr
    assert "second" in made.stdout


def test_what_a_version_was_trained_on_is_listed(shell: Shell) -> None:
    entries = shell.json("models", "manifest", shell.registered.name, "--limit", "3")
    assert [entry["id"] for entry in entries] == ["i-0", "i-1", "i-2"]  # type: ignore[attr-defined]
    assert "i-0" in shell.run("models", "manifest", shell.registered.name).stdout


def test_a_request_is_previewed_made_listed_and_cancelled(shell: Shell, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    ids.write_text("i-1\n\ni-2\n")
    what = ("--model", shell.registered.name, "-i", "i-0", "--instances-file", str(ids))
    preview = shell.json("requests", "preview", *what, "--task", "digit")
    assert preview["scope"] == "partial"  # type: ignore[index]
    assert preview["instance_count"] == 3  # type: ignore[index]
    assert preview["estimate"]["method"] == "interference_aware"  # type: ignore[index]
    assert "estimate  interference_aware" in shell.run("requests", "preview", *what).stdout
    assert shell.json("requests", "list") == []

    made = shell.json("requests", "create", *what, "--external-id", "T-1")
    request = made["id"]  # type: ignore[index]
    assert made["state"] == "queued"  # type: ignore[index]
    assert made["scope"] == "full"  # type: ignore[index]
    assert "queued" in shell.run("requests", "get", request).stdout
    jobs = shell.json("jobs", "list", "--state", "queued", "--model", shell.registered.name)
    (job,) = jobs  # type: ignore[misc]
    assert request in job["requests"]
    assert "unlearn" in shell.run("jobs", "get", job["id"]).stdout
    assert "request.queued" in shell.run("requests", "events", request).stdout

    cancelled = shell.run("requests", "cancel", request, "--reason", "a test")
    assert cancelled.returncode == 0, cancelled.stderr
    again = shell.run("requests", "cancel", request)
    assert again.returncode == 1
    assert again.stderr.startswith("expunge: ")
    assert "cancelled" in again.stderr


def test_a_legal_hold_is_placed_and_released_and_its_request_restricts(shell: Shell) -> None:
    why = ("--ground", "gdpr_art_17_3_e", "--reason", "a case")
    hold = shell.json("holds", "place", *why, "-i", "i-5", "--model", shell.registered.name)
    assert hold["instances"] == ["i-5"]  # type: ignore[index]
    made = shell.json("requests", "create", "--model", shell.registered.name, "-i", "i-5")
    request = made["id"]  # type: ignore[index]
    assert made["state"] == "on_hold"  # type: ignore[index]
    (restricted,) = shell.json("models", "restrictions", shell.registered.name)  # type: ignore[misc]
    assert (restricted["id"], restricted["requests"]) == ("i-5", [request])

    released = shell.run("holds", "release", hold["id"], "--reason", "closed")  # type: ignore[index]
    assert released.returncode == 0, released.stderr
    assert shell.json("holds", "list") == []
    (listed,) = shell.json("holds", "list", "--all")  # type: ignore[misc]
    assert listed["release_reason"] == "closed"
    assert shell.json("requests", "get", request)["state"] == "queued"  # type: ignore[index]
    assert shell.run("requests", "cancel", request).returncode == 0


def test_an_unknown_instance_is_refused_on_standard_error(shell: Shell) -> None:
    done = shell.run("requests", "create", "--model", shell.registered.name, "-i", "nobody")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_version_is_downloaded_and_checked(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    name, version = shell.registered.name, shell.registered.version_id
    done = shell.run("versions", "download", name, version, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert str(out.stat().st_size) in done.stdout
    taken = shell.json("models", "recipients", name)
    assert taken[0]["version"] == version  # type: ignore[index]


def test_keys_are_made_and_revoked(shell: Shell) -> None:
    made = shell.json("keys", "create", "desk", "--scope", "requests:write", "--days", "7")
    assert made["key"].startswith("exp_")  # type: ignore[index]
    own = shell.run("keys", "whoami", "--json", EXPUNGE_API_KEY=made["key"])  # type: ignore[index]
    assert json.loads(own.stdout)["scopes"] == ["requests:write"]
    assert shell.run("keys", "revoke", made["id"]).returncode == 0  # type: ignore[index]
    refused = shell.run("keys", "whoami", EXPUNGE_API_KEY=made["key"])  # type: ignore[index]
    assert refused.returncode == 1


def test_the_ledger_holds_and_is_remembered(shell: Shell, tmp_path: Path) -> None:
    heads = tmp_path / "heads.json"
    done = shell.run("ledger", "verify", "--heads", str(heads))
    assert done.returncode == 0, done.stderr
    assert "the ledger holds" in done.stdout
    assert "it begins with" not in done.stdout
    again = shell.run("ledger", "verify", "--heads", str(heads))
    assert "it begins with" in again.stdout
    assert shell.run("ledger", "head").returncode == 0
    kept = json.loads(heads.read_text())
    (head,) = kept.values()
    head.update(root="00" * 32)
    heads.write_text(json.dumps(kept))
    rewritten = shell.run("ledger", "verify", "--heads", str(heads))
    assert rewritten.returncode == 1
    assert "two ledgers" in rewritten.stderr or "one root" in rewritten.stderr
    heads.write_text("[]")
    broken = shell.run("ledger", "verify", "--heads", str(heads))
    assert broken.returncode == 1
    assert "holds no heads" in broken.stderr


def test_an_exported_ledger_is_verified_offline(shell: Shell, tmp_path: Path) -> None:
    bundle, jwks = tmp_path / "ledger.jsonl", tmp_path / "jwks.json"
    assert shell.run("ledger", "export", str(bundle)).returncode == 0
    jwks.write_bytes(httpx.get(f"{shell.service.base_url}/.well-known/jwks.json").content)
    words = ("ledger", "verify", "--bundle", str(bundle), "--jwks", str(jwks))
    done = shell.run(*words, EXPUNGE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "the exported ledger holds" in done.stdout
    proof = shell.run("ledger", "proof", "1")
    assert proof.returncode == 0, proof.stderr
    assert "event 1 is in the ledger" in proof.stdout
    first, event, *rest = bundle.read_text().splitlines()
    bundle.write_text("\n".join([first, event.replace("service", "nobody"), *rest]) + "\n")
    assert "event 1 was changed" in shell.run(*words).stderr
    assert shell.run(*words[:-2]).returncode == 2


def test_the_signing_key_is_rotated_where_the_service_runs(shell: Shell, tmp_path: Path) -> None:
    settings = shell.service.parts.settings
    place = {
        "EXPUNGE_DATABASE_URL": settings.database_url,
        "EXPUNGE_SIGNING_KEY_FILE": str(settings.signing_key),
    }
    before = shell.service.parts.signer.current().key_id
    done = shell.run("signing-key", "rotate", **place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{before} is retired")
    listed = shell.run("signing-key", "list", **place).stdout.splitlines()
    assert listed[0].endswith("signs")
    assert listed[1].startswith(f"{before}  retired")
    assert shell.run("ledger", "verify", "--heads", str(tmp_path / "heads")).returncode == 0


def test_a_service_that_is_not_there_is_told_with_what_to_do(shell: Shell) -> None:
    done = shell.run("models", "list", EXPUNGE_URL="http://127.0.0.1:1", EXPUNGE_API_KEY="k")
    assert done.returncode == 1
    assert "expunge up" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_service_known_is_told_with_what_to_do(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("--state", str(tmp_path), "models", "list")
    assert done.returncode == 1
    assert "expunge up" in done.stderr


def test_the_kept_key_is_not_sent_to_another_service(shell: Shell) -> None:
    done = shell.run("models", "list", EXPUNGE_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "no API key for http://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("requests", "create"),
        ("models", "create", "x", "--workload", "digits", "--options", "[1]"),
        ("models", "create", "x", "--workload", "digits", "--options", "{"),
        ("requests", "extend", "req_1", "--months", "3", "--reason", "x"),
        ("demo", "--data", "/nowhere"),
    ],
)
def test_wrong_usage_ends_with_code_2(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_receipt_is_verified_offline(shell: Shell, signed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from app.signing import Signer  # noqa: PLC0415

    receipt, jwks, weights = tmp_path / "r.json", tmp_path / "jwks.json", tmp_path / "w"
    receipt.write_bytes(signed.envelope())
    jwks.write_text(json.dumps({"keys": [Signer(signed.private).public_jwk()]}))
    weights.write_bytes(signed.weights)
    words = ("receipts", "verify", str(receipt), "--jwks", str(jwks), "--weights", str(weights))
    done = shell.run(*words)
    assert done.returncode == 0, done.stderr
    assert "the receipt holds" in done.stdout
    assert json.loads(shell.run(*words, "--json").stdout)["weights"].startswith("m/ver_1")

    weights.write_bytes(b"something else")
    assert "is not about" in shell.run(*words).stderr
    receipt.write_bytes(receipt.read_bytes().replace(b'"payload":"e', b'"payload":"f'))
    altered = shell.run(*words)
    assert altered.returncode == 1
    assert "altered" in altered.stderr
    stranger = shell.run("receipts", "verify", str(receipt))
    assert stranger.returncode == 1, "signed by a key that the service does not publish"


def test_the_doctor_finds_the_service_and_says_what_is_wrong(shell: Shell) -> None:
    findings = {f["what"]: f for f in json.loads(shell.run("doctor", "--json").stdout)}
    assert findings["service"]["state"] == "ok"
    assert findings["workers"]["state"] == "ok"
    assert findings["installation"]["state"] == "failed"
    assert "upgrade" in findings["installation"]["todo"]
    assert shell.run("doctor").returncode == 1


def test_the_schema_is_upgraded_and_taken_back(shell: Shell, tmp_path: Path) -> None:
    def db(*words: str) -> subprocess.CompletedProcess[str]:
        return shell.run("--state", str(tmp_path), "db", *words)

    def revision() -> str:
        return db("current").stdout.strip()

    assert revision() == "none"
    assert db("upgrade").returncode == 0
    assert revision() != "none"
    assert db("downgrade", "base").returncode == 0
    assert revision() == "none"
    assert db("upgrade", "nonsense").returncode != 0


def test_a_versions_files_are_pulled_verified_and_told_to_a_registry(
    shell: Shell, tmp_path: Path
) -> None:
    name, to = shell.registered.name, tmp_path / "models"
    files = shell.json("versions", "files", name, "1")
    assert [file["name"] for file in files][-1] == "model.sig"  # type: ignore[attr-defined]
    pulled = shell.run("versions", "pull", name, "--to", str(to))
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout == f"{to}/current is now version 1, {shell.registered.version_id}\n"
    again = shell.run("versions", "pull", name, "--to", str(to))
    assert "is still version 1" in again.stdout
    jwks = tmp_path / "jwks.json"
    jwks.write_text(httpx.get(f"{shell.service.base_url}/.well-known/jwks.json").text)
    words = ("versions", "verify", str(to / "current"), "--jwks", str(jwks))
    offline = shell.run(*words, EXPUNGE_URL="http://127.0.0.1:1")
    assert offline.returncode == 0, offline.stderr
    assert f"is {name}/{shell.registered.version_id}" in offline.stdout
    (to / "current" / "README.md").write_text("another model")
    altered = shell.run(*words)
    assert altered.returncode == 1
    assert altered.stderr == "expunge: README.md is not the file that was signed\n"
    tags = shell.json("versions", "tags", name, "1")
    assert tags["expunge.version_number"] == "1"  # type: ignore[index]
    assert f"expunge.model={name}" in shell.run("versions", "tags", name, "1").stdout


def test_a_hook_that_fails_leaves_earlier_versions(shell: Shell, tmp_path: Path) -> None:
    to = tmp_path / "models"
    former = to / "ver_former"
    former.mkdir(parents=True)
    words = ("versions", "pull", shell.registered.name, "--to", str(to), "--exec")
    failed = shell.run(*words, "false")
    assert failed.returncode == 1
    assert failed.stderr.endswith(
        "expunge: false ended with code 1: earlier versions are left in place\n"
    )
    assert "nowhere cannot be run" in shell.run(*words, "nowhere").stderr
    assert former.is_dir()
    assert shell.run(*words, "true").returncode == 0
    assert not former.exists()


def test_a_version_in_service_is_not_purged(shell: Shell) -> None:
    refused = shell.run("versions", "purge", shell.registered.name, "1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("expunge: version ")
    assert "alias 'production' names it" in refused.stderr

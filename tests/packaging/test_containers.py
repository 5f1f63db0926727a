"""Dockerfile, Compose file and monitoring: they parse, and every command in them exists."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOW_TO = (ROOT / "docs/how-to/production.md").read_text()


def _commands() -> Iterator[tuple[str, ...]]:
    for service in COMPOSE["services"].values():
        if service.get("image", "").startswith("expunge-"):
            yield tuple(service["command"])
    for words in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE):
        yield tuple(yaml.safe_load(words))
    for line in re.findall(r"^(?:expunge|python -m) .*$", HOW_TO, re.MULTILINE):
        yield tuple(shlex.split(line.partition("#")[0]))


@pytest.mark.parametrize("command", sorted(set(_commands())), ids=" ".join)
def test_every_command_is_one_that_the_program_knows(command: tuple[str, ...]) -> None:
    program = {"expunge": ["-m", "expunge"], "python": []}[command[0]]
    done = subprocess.run(
        [sys.executable, *program, *command[1:], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_services_wait_for_what_they_need() -> None:
    services = COMPOSE["services"]
    for name in ("api", "relay", "worker"):
        assert services[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_our_containers_have_a_read_only_root_and_no_rights() -> None:
    for service in COMPOSE["services"].values():
        if service.get("image", "").startswith("expunge-"):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
    last_user = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)[-1]
    assert last_user not in ("root", "0")


def test_no_secret_is_written_down() -> None:
    example = (ROOT / "deploy/expunge.env.example").read_text()
    database = COMPOSE["services"]["postgres"]["environment"]
    for name in ("POSTGRES_PASSWORD", "EXPUNGE_OWNER_PASSWORD", "EXPUNGE_SERVICE_PASSWORD"):
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
        assert database[name].startswith("${")


def test_who_migrates_owns_the_tables_and_nobody_is_a_superuser() -> None:
    (roles,) = (v for v in COMPOSE["services"]["postgres"]["volumes"] if "initdb.d" in v)
    made = re.findall(
        r"^CREATE ROLE (\w+) .*NOSUPERUSER NOBYPASSRLS",
        (ROOT / roles.partition(":")[0]).read_text(),
        re.MULTILINE,
    )
    assert made == ["expunge_owner", "expunge"]
    for name, service in COMPOSE["services"].items():
        if service.get("image", "").startswith("expunge-"):
            role = "expunge_owner" if name == "migrate" else "expunge"
            url = service["environment"]["EXPUNGE_DATABASE_URL"]
            assert url.startswith(f"postgresql://{role}:$"), name


def test_compose_builds_targets_that_the_dockerfile_has() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    built = {s["build"]["target"] for s in COMPOSE["services"].values() if "build" in s}
    assert built == {"api", "worker"}
    assert built <= targets


def test_every_folder_that_the_dockerfile_copies_is_let_through() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert source in allowed
            assert (ROOT / source).exists()

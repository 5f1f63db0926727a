"""Manifests are refused with the numbers of their bad lines."""

from pathlib import Path

import pytest

from app.services import manifest_check
from app.services.manifest_check import BadManifest, Line

TASKS = ["digit", "parity"]


def written(folder: Path, content: bytes) -> Path:
    file = folder / "manifest.jsonl"
    file.write_bytes(content)
    return file


def test_a_good_manifest_is_read_in_order(tmp_path: Path) -> None:
    digest = "0" * 64
    file = written(
        tmp_path,
        b'{"id": "b"}\n{"id": "a", "subject": "s", "digest": "' + digest.encode() + b'",'
        b' "tasks": ["parity"]}\r\n'
        b'{"id": "\xc3\xa9", "tasks": ["parity", "digit"], "subject": null}',
    )
    assert manifest_check.check(file, TASKS) == 3
    assert list(manifest_check.read(file, TASKS)) == [
        Line("b", None, None, ["digit", "parity"]),
        Line("a", "s", digest, ["parity"]),
        Line("é", None, None, ["digit", "parity"]),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no id"),
        (b'{"id": 7}', "id 7 is not a text"),
        (b'{"id": ""}', "is not a text of 1 to 512"),
        (b'{"id": "' + b"x" * 513 + b'"}', "is not a text of 1 to 512"),
        (b'{"id": "a\\u0000"}', "NUL"),
        (b'{"id": "\\ud800"}', "lone surrogate"),
        (b'{"id": "a", "subject": 7}', "subject 7 is not a text"),
        (b'{"id": "a", "label": 7}', "unknown member 'label'"),
        (b'{"id": "a", "digest": "ABC"}', "digest 'ABC' is not a sha256"),
        (b'{"id": "a", "digest": 7}', "digest 7 is not a sha256"),
        (b'{"id": "a", "tasks": "digit"}', "tasks is not a list of names"),
        (b'{"id": "a", "tasks": []}', "tasks is empty"),
        (b'{"id": "a", "tasks": ["depth"]}', "unknown task 'depth'; the model has digit, parity"),
        (b'{"id": "a", "tasks": ["digit", "digit"]}', "names one twice"),
        (b'{"id": "first"}', "'first' is named already in line 1"),
        (b'{"id": "' + b"x" * 3_000_000 + b'"}', "longer than 1000000 bytes"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: bytes, told: str) -> None:
    file = written(tmp_path, b'{"id": "first"}\n' + line + b'\n{"id": "last"}\n')
    with pytest.raises(BadManifest) as caught:
        manifest_check.check(file, TASKS)
    assert [number for number, _ in caught.value.errors] == [2]
    assert told in caught.value.errors[0][1]
    assert len(str(caught.value)) < 400


def test_twenty_bad_lines_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    file = written(tmp_path, b'{"id": "same"}\n' * 51)
    with pytest.raises(BadManifest, match="50 of the manifest's lines") as caught:
        manifest_check.check(file, TASKS)
    assert [number for number, _ in caught.value.errors] == list(range(2, 22))
    assert caught.value.count == 50


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="names no instance"):
        manifest_check.check(written(tmp_path, b""), TASKS)

from pathlib import Path

import pytest

from app.services.import_rows import BadHeader, Fault, Row, read


def written(folder: Path, content: bytes) -> Path:
    file = folder / "rows"
    file.write_bytes(content)
    return file


def test_a_line_too_long_keeps_the_numbers_of_those_behind_it(tmp_path: Path) -> None:
    content = b'{"instance": "' + b"x" * 50_000 + b'"}\n{"instance": "i-1"}'
    file = written(tmp_path, content)
    assert list(read(file, "jsonl")) == [
        Fault(1, "longer than 10000 bytes"),
        Row(2, False, "i-1"),
    ]


def test_an_id_of_512_characters_fits_however_it_is_escaped(tmp_path: Path) -> None:
    name = "\U0001f600" * 512
    escaped = "\\ud83d\\ude00" * 512
    file = written(tmp_path, f'{{"subject": "{escaped}"}}\n'.encode())
    assert list(read(file, "jsonl")) == [Row(1, True, name)]


def test_csv_quotes_are_read_within_a_line_only(tmp_path: Path) -> None:
    file = written(tmp_path, b'instance\n"a, ""b"""\n\n"c\nd\n')
    first, *rest = read(file, "csv")
    assert first == Row(2, False, 'a, "b"')
    assert [(one.line, type(one)) for one in rest] == [(4, Fault), (5, Row)]


@pytest.mark.parametrize("header", [b"", b"\n", b"id\n", b"instance;subject\n", b'"instance\n'])
def test_a_csv_must_say_what_its_columns_are(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(BadHeader):
        list(read(written(tmp_path, header), "csv"))

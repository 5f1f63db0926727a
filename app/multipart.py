"""Uploads as they come in: each file goes to disk and through sha256, never whole into memory."""

import errno
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.problems import Invalid, Problem

_BUFFER = 1 << 20
_MAX_FIELD = 10_000


@dataclass
class ReceivedFile:
    """A file that was received whole."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Form:
    """Everything that was received."""

    fields: Mapping[str, str]
    files: Mapping[str, ReceivedFile]


async def receive(
    request: Request, folder: Path, files: Iterable[str], fields: Iterable[str]
) -> Form:
    """The form in the request's body, its files written into `folder`.

    Every name in `files` is required, those in `fields` are not. Raises a Problem of 400 for what
    is no multipart form, 422 for parts that are missing, unknown or given twice, 507 where the
    disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem(415, "not-multipart", "send this as multipart/form-data with a boundary")
    form = _Receiver(folder, frozenset(files), frozenset(fields))
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        buffer = bytearray()
        async for chunk in request.stream():
            buffer += chunk
            if len(buffer) >= _BUFFER:
                await to_thread.run_sync(parser.write, bytes(buffer))
                buffer.clear()
        await to_thread.run_sync(parser.write, bytes(buffer))
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, "bad-multipart", f"the form cannot be read: {error}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Problem(507, "storage-full", "there is no room left to store this upload") from None
    finally:
        form.close()
    return form.result()


@dataclass
class _Part:
    name: str = ""
    data: bytearray = field(default_factory=bytearray)
    stream: BinaryIO | None = None
    digest: Any = None
    size: int = 0


class _Receiver:
    """The callbacks of the parser."""

    def __init__(self, folder: Path, files: frozenset[str], fields: frozenset[str]) -> None:
        self._folder = folder
        self._file_names = files
        self._field_names = fields
        self._fields: dict[str, str] = {}
        self._files: dict[str, ReceivedFile] = {}
        self._part = _Part()
        self._header = [bytearray(), bytearray()]
        self._disposition = b""
        self._ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def close(self) -> None:
        if self._part.stream is not None:
            self._part.stream.close()

    def result(self) -> Form:
        if not self._ended:
            raise Problem(400, "bad-multipart", "the form ends before its last boundary")
        for name in sorted(self._file_names - self._files.keys()):
            raise Invalid(f"#/{name}", f"the file {name} is required")
        return Form(self._fields, self._files)

    def _begin(self) -> None:
        self._part = _Part()
        self._disposition = b""

    def _header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = [bytearray(), bytearray()]
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name in self._fields or name in self._files:
            raise Invalid(f"#/{name}", f"the part {name} is given twice")
        self._part.name = name
        if name in self._file_names:
            self._part.stream = (self._folder / name).open("wb")
            self._part.digest = hashlib.sha256()
        elif name not in self._field_names:
            raise Invalid(f"#/{name:.100}", f"{name!r:.100} is not a part of this form")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, piece = self._part, memoryview(data)[start:end]
        part.size += len(piece)
        if part.stream is not None:
            part.stream.write(piece)
            part.digest.update(piece)
        elif part.size > _MAX_FIELD:
            raise Invalid(f"#/{part.name}", f"{part.name} is longer than {_MAX_FIELD} bytes")
        else:
            part.data += piece

    def _end_part(self) -> None:
        part = self._part
        if part.stream is not None:
            part.stream.close()
            path = self._folder / part.name
            self._files[part.name] = ReceivedFile(path, part.digest.hexdigest(), part.size)
            return
        try:
            self._fields[part.name] = part.data.decode()
        except UnicodeDecodeError:
            raise Invalid(f"#/{part.name}", f"{part.name} is not UTF-8 text") from None

    def _end(self) -> None:
        self._ended = True

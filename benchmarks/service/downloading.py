"""How quickly a version is downloaded, against nginx and the same file; and in how much memory."""

import http.client
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.service.databases import Databases
from benchmarks.service.installation import MODEL, install
from benchmarks.service.processes import OURS, Server, free_port, serving, uvicorn
from benchmarks.service.rows import Row, missing

SHARE = 0.5
MOST_GROWTH = 1.1
_NAME = "download of a version"
_MEMORY = "memory while a version is downloaded"
_BLOCK = 1 << 20

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
  }}
}}
"""


def measure(databases: Databases, folder: Path, *, size: int, turns: int) -> Iterator[Row]:
    """One caller takes the whole file from each, in turns."""
    where = install(folder / "ours", databases.create(), instances=1, weights_bytes=size)
    path = f"/v1/models/{MODEL}/versions/1/files/weights.safetensors"
    port = free_port()
    with serving(uvicorn(OURS, port), port, where.environment) as ours:
        _take(ours, path, where.headers)  # what is loaded at first use is loaded now
        before = ours.resident_bytes
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx is None:
            why = "nginx is not installed: apt-get install nginx-light"
            yield missing("download", _NAME, why, SHARE, "at least")
            peak = max(_take(ours, path, where.headers)[1] for _ in range(turns))
        else:
            stored = next(where.settings.storage.glob("??/*"))
            rates, peak = _compare(ours, path, where.headers, nginx, stored, folder, turns)
            yield Row(
                name=_NAME,
                ours=statistics.median(mine for mine, _ in rates),
                reference=statistics.median(its for _, its in rates),
                ratio=statistics.median(mine / its for mine, its in rates),
                target=SHARE,
                sense="at least",
                unit="MB/s",
                section="download",
                note=f"a file of {size / 1e6:.0f} MB over the loopback, against nginx's sendfile",
            )
    yield Row(
        name=_MEMORY,
        ours=peak / 1e6,
        reference=before / 1e6,
        ratio=peak / before,
        target=MOST_GROWTH,
        unit="MB",
        section="download",
        note=f"the process' most resident memory during downloads of {size / 1e6:.0f} MB,"
        " against before",
    )


def _compare(
    ours: Server,
    path: str,
    headers: Mapping[str, str],
    nginx: str,
    stored: Path,
    folder: Path,
    turns: int,
) -> tuple[list[tuple[float, float]], int]:
    """MB/s of both in each turn, and the most memory that ours held."""
    place = folder / "nginx"
    place.mkdir()
    os.link(stored, place / "weights")
    port = free_port()
    configuration = place / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=place, port=port))
    size = stored.stat().st_size
    rates, peak = list[tuple[float, float]](), 0
    command = [nginx, "-p", str(place), "-c", str(configuration), "-e", str(place / "error.log")]
    with serving(command, port) as other:
        for turn in range(turns + 1):
            seconds, most = _take(ours, path, headers)
            peak = max(peak, most)
            reference, _ = _take(other, "/weights", {})
            if turn:  # the first one warms up
                rates.append((size / seconds / 1e6, size / reference / 1e6))
    return rates, peak


def _take(server: Server, path: str, headers: Mapping[str, str]) -> tuple[float, int]:
    """How many seconds a download took, and the most memory that the server held meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    block, most = bytearray(_BLOCK), 0
    begun = time.perf_counter()
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    if answer.status != 200:
        raise ValueError(f"{path} answered {answer.status}: {answer.read().decode()}")
    blocks = 0
    while answer.readinto(block):
        blocks += 1
        if blocks % 64 == 0:
            most = max(most, server.resident_bytes)
    seconds = time.perf_counter() - begun
    connection.close()
    return seconds, most

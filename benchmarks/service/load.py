"""Callers that send one request after the other, each over a connection of its own."""

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_TIMEOUT = 60.0


@dataclass
class Load:
    """What callers met."""

    seconds: float = 0.0
    """From the first request to the last answer, summed over turns."""
    latencies: list[float] = field(default_factory=list)
    processor_seconds: float = 0.0
    """That the server's process worked meanwhile."""

    @property
    def processor_time(self) -> float:
        """Seconds of the server's work for one answer."""
        return self.processor_seconds / len(self.latencies)

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency, in seconds, that this share of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def add(self, other: "Load") -> None:
        """Count another turn too."""
        self.seconds += other.seconds
        self.latencies += other.latencies
        self.processor_seconds += other.processor_seconds


Body = Callable[[], tuple[bytes, Mapping[str, str]]]
"""The next request's content and the headers that are its own."""


def post(
    port: int, path: str, body: Body, headers: Mapping[str, str], callers: int, seconds: float
) -> Load:
    """POST as quickly as answers come, for so long; raises `ValueError` for a refusal."""
    found: list[float] = []
    refused: list[str] = []
    start = time.perf_counter()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        while not refused and time.perf_counter() < start + seconds:
            content, own = body()
            begun = time.perf_counter()
            connection.request(
                "POST", path, content, {"Content-Type": "application/json", **headers, **own}
            )
            answer = connection.getresponse()
            said = answer.read()
            found.append(time.perf_counter() - begun)
            if answer.status >= 300:
                refused.append(f"{path} answered {answer.status}: {said.decode()}")
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise ValueError(refused[0])
    return Load(time.perf_counter() - start, found)

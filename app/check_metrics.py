"""What the last check of the installation found, as a file for Prometheus' node exporter.

The check reads every ledger and every stored file, so that it is run by a timer, not at each
scrape: `python -m app check --metrics-file FILE`, in the folder of the textfile collector.
"""

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

PARTS = ("schema", "role", "ledgers", "files", "configuration")
"""What is checked: `ledgers` counts tenants whose chain, seals or rows do not hold."""


def registry_of(faults: Mapping[str, int]) -> CollectorRegistry:
    """How many faults each part has; a part that was not looked at has none to show."""
    registry = CollectorRegistry()
    found = Gauge(
        "expunge_check_faults",
        "What the last `python -m app check` found wrong",
        ["part"],
        registry=registry,
    )
    for part, count in faults.items():
        found.labels(part).set(count)
    Gauge(
        "expunge_check_time_seconds", "When that check ended, in Unix time", registry=registry
    ).set_to_current_time()
    return registry


def write(file: Path, faults: Mapping[str, int]) -> None:
    """Put the figures in the file's place at once, so that nobody reads half of them."""
    write_to_textfile(str(file), registry_of(faults))

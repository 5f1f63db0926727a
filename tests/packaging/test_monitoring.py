"""Prometheus' files parse, and speak only of metrics that the service shows."""

import re
from pathlib import Path
from typing import Any

import yaml

from generators import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_alerts_use_metrics_that_exist() -> None:
    alerts: dict[str, Any] = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    used = {name for rule in rules for name in re.findall(r"expunge_\w+", rule["expr"])}
    assert used
    assert used <= {name for name, _, _ in metrics.families()}
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_prometheus_loads_the_alerts() -> None:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import InvalidSpec, WorkloadError
from engine.registry import (
    METHODS,
    WORKLOADS,
    installed,
    installed_versions,
    load_method,
    load_workload,
)

Plugin = Callable[[str], None]


def test_the_shipped_workloads_and_methods_are_found() -> None:
    assert {"arrays", "digits", "scenes"} <= set(installed(WORKLOADS))
    assert {"interference_aware", "retrain"} <= set(installed(METHODS))


def test_a_workload_is_built_with_its_options() -> None:
    workload = load_workload("scenes", {"size": 6})
    assert len(workload.instances("train")) == 6


def test_another_packages_workload_is_found_with_its_version(install_workload: Plugin) -> None:
    install_workload("class Theirs:\n    name = 'theirs'\n")
    assert load_workload("theirs", {}).name == "theirs"
    assert installed_versions(WORKLOADS)["theirs"] == "1.2"


def test_a_workload_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(WorkloadError, match=r"'nyu' is not installed; .*arrays, digits, .*scenes"):
        load_workload("nyu", {})


def test_a_method_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidSpec, match=r"method 'magic' is not installed; .*retrain"):
        load_method("magic")


def test_a_method_that_cannot_be_imported_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[expunge.methods]\nbroken = no_such_thing:unlearn\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidSpec, match="'broken' cannot be loaded: ModuleNotFoundError: No mod"):
        load_method("broken")


def test_an_unknown_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(WorkloadError, match="no option 'depth'; its options are: noise, hidden"):
        load_workload("digits", {"depth": 3})


def test_a_missing_option_is_named() -> None:
    with pytest.raises(WorkloadError, match="'arrays' needs the option 'path'"):
        load_workload("arrays", {})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "workload 'theirs' cannot be built: ZeroDivisionError: division by zero"),
        ("import no_such_thing", "cannot be built: ModuleNotFoundError: No module named"),
        ("class Other: pass", "cannot be built: AttributeError"),
        ("class Theirs:\n def __init__(self): raise OSError('one\\ntwo')", "OSError: one$"),
    ],
)
def test_a_workload_that_raises_gives_one_sentence(
    install_workload: Plugin, source: str, message: str
) -> None:
    install_workload(source)
    with pytest.raises(WorkloadError, match=message):
        load_workload("theirs", {})

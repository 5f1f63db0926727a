"""The main job on SQLite and the loop without a broker: what one machine runs by itself."""

from pathlib import Path

import pytest

from story import Trained, killed_worker_story, whole_story
from up_tree import up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_requests_end_in_new_versions_and_receipts_that_hold(
    trained: Trained, tmp_path: Path
) -> None:
    with up(tmp_path / "state") as tree, tree.client() as client:
        whole_story(client, trained, "digits-story", tmp_path)


def test_a_worker_killed_in_the_middle_of_a_job_costs_only_time(
    trained: Trained, tmp_path: Path
) -> None:
    with up(tmp_path / "state") as tree:
        killed_worker_story(tree, trained, "digits-killed", ("-m", "worker"))

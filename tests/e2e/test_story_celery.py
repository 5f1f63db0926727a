"""The main job on PostgreSQL, Redis, the relay and a Celery worker, all of them real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from story import Trained, killed_worker_story, whole_story
from up_tree import Tree, up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tree(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tree]:
    settings = {"EXPUNGE_DATABASE_URL": postgres_url, "EXPUNGE_BROKER_URL": redis_url}
    with up(tmp_path_factory.mktemp("celery"), "--celery", **settings) as running:
        yield running


def test_requests_end_in_new_versions_and_receipts_that_hold(
    tree: Tree, trained: Trained, tmp_path: Path
) -> None:
    assert len(tree.running("-m", "worker", "celery")) == 1
    assert len(tree.running("-m", "worker", "relay")) == 1
    assert tree.running("-m", "worker") == []
    with tree.client() as client:
        whole_story(client, trained, "digits-story", tmp_path)


def test_a_worker_killed_in_the_middle_of_a_job_costs_only_time(
    tree: Tree, trained: Trained
) -> None:
    killed_worker_story(tree, trained, "digits-killed", ("-m", "worker", "celery"))

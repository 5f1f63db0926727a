from collections.abc import Mapping
from enum import StrEnum

import pytest

from app.states import (
    ACTIVE_JOB,
    FINISHED_JOB,
    FINISHED_REQUEST,
    JOB,
    REQUEST,
    VERSION,
    JobState,
    RequestState,
    VersionState,
)

MACHINES = [
    (REQUEST, RequestState, RequestState.RECEIVED),
    (JOB, JobState, JobState.QUEUED),
    (VERSION, VersionState, VersionState.STAGED),
]


@pytest.mark.parametrize(("machine", "states", "first"), MACHINES)
def test_every_state_is_in_its_machine_and_can_be_reached(
    machine: Mapping[StrEnum, frozenset[StrEnum]], states: type[StrEnum], first: StrEnum
) -> None:
    assert set(machine) == set(states)
    reached, new = {first}, {first}
    while new:
        new = set().union(*(machine[state] for state in new)) - reached
        reached |= new
    assert reached == set(states)


@pytest.mark.parametrize(("machine", "states", "first"), MACHINES)
def test_no_state_follows_itself(
    machine: Mapping[StrEnum, frozenset[StrEnum]], states: type[StrEnum], first: StrEnum
) -> None:
    assert not [state for state in states if state in machine[state]]


@pytest.mark.parametrize(("machine", "states", "first"), MACHINES)
def test_every_state_leads_to_an_end(
    machine: Mapping[StrEnum, frozenset[StrEnum]], states: type[StrEnum], first: StrEnum
) -> None:
    ends = {state for state in states if not machine[state]}
    grown = True
    while grown:
        before = len(ends)
        ends |= {state for state in states if machine[state] & ends}
        grown = len(ends) > before
    assert ends == set(states)


def test_a_finished_request_moves_only_when_it_is_retried() -> None:
    assert {
        RequestState.COMPLETED,
        RequestState.COMPLETED_WITH_EXCEPTIONS,
        RequestState.FAILED,
        RequestState.DENIED,
        RequestState.CANCELLED,
        RequestState.EXPIRED,
    } == FINISHED_REQUEST


def test_a_job_is_waiting_active_or_finished() -> None:
    assert set(JobState) == {JobState.QUEUED} | ACTIVE_JOB | FINISHED_JOB
    assert not ACTIVE_JOB & FINISHED_JOB

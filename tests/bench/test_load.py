"""The load generator against the mock upstream: every answer is counted once and a wrong one stops the run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import bodies
from bench.load import Closed, IdleStreams, Rate, Target, closed_loop, open_loop, quantile
from bench.processes import MockProcess, choose_cores
from bench.reactor import BenchError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    process = MockProcess(sys.executable, ROOT, choose_cores().harness)
    yield process
    process.stop()


def target(mock: MockProcess, ask: bodies.Ask, events: int | None = None) -> Target:
    request = bodies.render(ask, "127.0.0.1", "none")
    return Target(mock.port, request, ask.events if events is None else events)


@pytest.mark.parametrize("ask", [bodies.CHAT, bodies.LARGE, bodies.EMBEDDING, bodies.BURST, bodies.PACED])
def test_a_closed_loop_gets_exactly_the_answers_it_asked_for(mock: MockProcess, ask: bodies.Ask) -> None:
    outcome = closed_loop(target(mock, ask), Closed(connections=3, count=8, seconds=20))
    assert outcome.answers == len(outcome.latencies) == 8
    assert mock.cpu() > 0


def test_a_fixed_rate_run_answers_every_request_that_was_due(mock: MockProcess) -> None:
    outcome = open_loop(target(mock, bodies.CHAT), Rate(per_second=2_000, count=50, connections=2, seconds=20))
    assert outcome.answers == len(outcome.lateness) == 50


def test_a_stream_with_the_wrong_number_of_events_stops_the_run(mock: MockProcess) -> None:
    with pytest.raises(BenchError, match="a stream of 65 events where 60 were due"):
        closed_loop(target(mock, bodies.BURST, events=60), Closed(connections=1, count=1, seconds=20))


def test_an_answer_that_is_an_error_stops_the_run(mock: MockProcess) -> None:
    lost = bodies.Ask("lost", "/nowhere", b"{}")
    with pytest.raises(BenchError, match="not answered well"):
        closed_loop(target(mock, lost), Closed(connections=1, count=1, seconds=20))


def test_idle_streams_stay_open_until_the_mock_releases_them(mock: MockProcess) -> None:
    streams = IdleStreams(target(mock, bodies.IDLE))
    streams.open(20, seconds=20)
    mock.release()
    assert streams.drain(seconds=20) == 20
    streams.close()


def test_a_quantile_is_the_nearest_rank() -> None:
    assert quantile([], 0.99) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0

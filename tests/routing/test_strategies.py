"""Who is tried first: by rank, by weight, by latency, by cost."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
from posthouse.core.money import Money
from posthouse.routing.model import ModelRoute, RoutingOptions, Trace
from posthouse.routing.pace import Average, Pace
from tests.routing.rig import Deployed, Rig, answers, asked, ids, now, refuses, run, shares

DRAWS = 4_000


def route(strategy: str, *models: str) -> ModelRoute:
    return ModelRoute("r", models or ("a", "b"), strategy)  # type: ignore[arg-type]


def two(strategy: str) -> Rig:
    """A route over the models `a` and `b`, each at an account of its own."""
    return Rig(Deployed("first", ("a",)), Deployed("second", ("b",)), routes=[route(strategy)])


# By rank and by weight


def test_higher_priority_goes_first_and_equals_share_by_weight() -> None:
    async def work() -> None:
        rig = Rig(Deployed("low"), Deployed("one", priority=1, weight=1), Deployed("three", priority=1, weight=3))
        assert ids(rig.plan())[2] == "low/m"
        found = shares(rig.firsts(DRAWS))
        assert found == pytest.approx({"one/m": 0.25, "three/m": 0.75}, abs=0.03)

    run(work())


def test_a_weighted_route_draws_over_all_of_its_models() -> None:
    async def work() -> None:
        rig = Rig(
            Deployed("nine", ("a",), priority=5, weight=9),
            Deployed("one", ("b",)),
            routes=[route("weighted", "b", "a")],
        )
        assert shares(rig.firsts(DRAWS, "r")) == pytest.approx({"nine/a": 0.9, "one/b": 0.1}, abs=0.03)

    run(work())


def test_a_route_may_have_the_name_of_a_model_behind_it_and_other_routes_do_not_go_through_it() -> None:
    async def work() -> None:
        routes = [ModelRoute("m", ("m", "n")), ModelRoute("other", ("m",))]
        rig = Rig(Deployed("main", ("m", "n")), routes=routes)
        assert ids(rig.plan("m")) == ["main/m", "main/n"]
        assert ids(rig.plan("other")) == ["main/m"]

    run(work())


# By latency


def test_the_faster_of_two_is_taken_once_both_were_measured() -> None:
    async def work() -> None:
        rig = two("latency")
        rig.scripts = {"first/a": answers(2.0), "second/b": answers(0.2)}
        for _ in range(10):
            await rig.ask("r")
        assert set(rig.visits[:2]) == {"first/a", "second/b"}  # whoever is not measured is tried
        assert set(rig.visits[2:]) == {"second/b"}

    run(work())


def test_of_many_the_slowest_is_never_taken_and_none_of_the_others_gets_all() -> None:
    async def work() -> None:
        names = ("a", "b", "c", "d")
        rig = Rig(*(Deployed(name, (name,)) for name in names), routes=[route("latency", *names)])
        for place, name in enumerate(names):
            rig.router.paces.of(f"{name}/{name}", "chat.completions").average(False).answered(0.1 * 2**place, now())
        found = shares(rig.firsts(DRAWS, "r"))
        assert "d/d" not in found
        assert found == pytest.approx({"a/a": 1 / 2, "b/b": 1 / 3, "c/c": 1 / 6}, abs=0.03)

    run(work())


def test_requests_under_way_make_a_deployment_less_attractive() -> None:
    async def work() -> None:
        rig = two("latency")
        rig.scripts = {"first/a": answers(1.0), "second/b": answers(1.2)}
        await asyncio.gather(*(rig.ask("r") for _ in range(2)))
        rig.visits.clear()
        await asyncio.gather(*(rig.ask("r") for _ in range(20)))
        assert abs(rig.visits.count("first/a") - rig.visits.count("second/b")) <= 4

    run(work())


def test_a_stream_counts_until_it_is_left() -> None:
    async def work() -> None:
        rig = two("latency")
        reply, trace = await rig.ask("r", stream=True)
        assert reply.response is not None and trace.candidate is not None
        pace = rig.router.paces.of(trace.candidate.deployment.id, "chat.completions")
        assert pace.inflight == 1
        reply.response.finish()
        reply.response.close()
        assert pace.inflight == 0

    run(work())


@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_answer_a_failure_and_a_caller_who_leaves_are_under_way_no_more(stream: bool) -> None:
    async def work() -> None:
        rig = Rig(Deployed("one", ("a",)), routes=[route("latency", "a")], options=RoutingOptions(max_attempts=1))
        pace = rig.router.paces.of("one/a", "chat.completions")
        await rig.ask("r")
        assert pace.inflight == 0
        rig.scripts = {"one/a": refuses(500)}
        with pytest.raises(UpstreamFailure):
            await rig.ask("r", stream=stream)
        assert pace.inflight == 0
        rig.scripts = {"one/a": answers(30)}
        leaving = asyncio.create_task(rig.ask("r", stream=stream))
        await asyncio.sleep(1)
        assert pace.inflight == 1
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert pace.inflight == 0

    run(work())


def test_a_slow_deployment_is_tried_again_once_its_latency_has_faded() -> None:
    async def work() -> None:
        rig = two("latency")
        rig.scripts = {"first/a": answers(3.0), "second/b": answers(0.3)}
        for _ in range(2):
            await rig.ask("r")
        rig.scripts["first/a"] = answers(0.1)
        rig.visits.clear()
        for _ in range(40):
            await asyncio.sleep(10)
            await rig.ask("r")
        assert "first/a" in rig.visits
        assert rig.visits[-1] == "first/a"

    run(work())


def test_a_cooling_deployment_is_tried_last_however_fast_it_was() -> None:
    async def work() -> None:
        rig = two("latency")
        rig.scripts = {"first/a": answers(0.01), "second/b": answers(5)}
        for _ in range(2):
            await rig.ask("r")
        rig.fail("first/a", "quota")
        assert {tuple(ids(rig.plan("r"))) for _ in range(50)} == {("second/b", "first/a")}

    run(work())


def test_streams_and_whole_answers_are_measured_apart() -> None:
    async def work() -> None:
        rig = two("latency")
        for name, seconds in (("first/a", 1.0), ("second/b", 2.0)):
            pace = rig.router.paces.of(name, "chat.completions")
            pace.average(True).answered(seconds, now())
            pace.average(False).answered(3.0 - seconds, now())
        assert ids(rig.plan("r", stream=True))[0] == "first/a"
        assert ids(rig.plan("r"))[0] == "second/b"

    run(work())


def test_nothing_is_measured_where_the_route_does_not_go_by_latency() -> None:
    async def work() -> None:
        rig = two("priority")
        _, trace = await rig.ask("r")
        assert not trace.measured
        assert rig.router.paces.of("first/a", "chat.completions").average(False).at(now()) is None

    run(work())


def test_a_slower_answer_counts_at_once_and_a_faster_one_by_and_by() -> None:
    average = Average(60.0)
    assert average.at(0.0) is None
    average.answered(1.0, 0.0)
    average.answered(4.0, 1.0)
    assert average.at(1.0) == 4.0
    average.answered(1.0, 2.0)
    assert 3.9 < (average.at(2.0) or 0) < 4.0
    average.answered(1.0, 122.0)
    assert 1.0 < (average.at(122.0) or 0) < 1.5


def test_a_quick_failure_makes_nobody_look_fast_and_a_slow_one_looks_slow() -> None:
    average = Average(60.0)
    average.failed(0.01, 0.0)
    assert average.at(0.0) is None
    average.answered(1.0, 0.0)
    average.failed(0.01, 0.0)
    assert average.at(0.0) == 1.0
    average.failed(30.0, 0.0)
    assert average.at(0.0) == 30.0


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.001, 100.0)), min_size=1, max_size=50))
def test_an_average_never_leaves_the_range_of_what_was_measured(steps: list[tuple[float, float]]) -> None:
    average, clock = Average(60.0), 0.0
    for pause, seconds in steps:
        clock += pause
        average.answered(seconds, clock)
        value = average.at(clock)
        assert value is not None
        assert 0 < value <= max(given for _, given in steps) + 1e-9


def test_an_unmeasured_deployment_goes_first_but_takes_one_request_at_a_time() -> None:
    fresh, known = Pace(60.0), Pace(60.0)
    known.average(False).answered(0.001, 0.0)
    assert fresh.score(False, 0.0) < known.score(False, 0.0)
    fresh.inflight = 1
    assert fresh.score(False, 0.0) > known.score(False, 0.0)


def test_what_was_measured_of_deployments_that_are_gone_is_forgotten() -> None:
    async def work() -> None:
        rig = two("latency")
        await rig.ask("r")
        await rig.ask("r")
        before = rig.router.paces.of("first/a", "chat.completions")
        rig.router.paces.forget(frozenset({"first/a"}))
        assert rig.router.paces.of("first/a", "chat.completions") is before
        assert rig.router.paces.of("second/b", "chat.completions").average(False).at(now()) is None

    run(work())


# By cost


def cheap(rig: Rig, costs: dict[str, Money | None]) -> list[str]:
    plan = rig.plan("r")
    given = [costs[candidate.deployment.id] for candidate in plan]
    return ids(rig.router.planner.cheapest_first(plan, given, "chat.completions", now(), Trace(now())))


def usd(nano: int) -> Money:
    return Money(nano, "USD")


def test_free_goes_before_cheap_before_dear_before_unpriced() -> None:
    async def work() -> None:
        names = ("unpriced", "dear", "cheap", "free")
        rig = Rig(*(Deployed(name, (name,)) for name in names), routes=[route("cheapest", *names)])
        costs = {"unpriced/unpriced": None, "dear/dear": usd(9), "cheap/cheap": usd(2), "free/free": usd(0)}
        assert cheap(rig, costs) == ["free/free", "cheap/cheap", "dear/dear", "unpriced/unpriced"]

    run(work())


def test_the_cheapest_waits_behind_all_others_while_it_cools() -> None:
    async def work() -> None:
        rig = two("cheapest")
        rig.fail("first/a", "quota")
        assert cheap(rig, {"first/a": usd(1), "second/b": None}) == ["second/b", "first/a"]

    run(work())


def test_currencies_are_not_compared_the_one_of_the_first_goes_first() -> None:
    async def work() -> None:
        names = ("a", "b", "c")
        rig = Rig(*(Deployed(name, (name,)) for name in names), routes=[route("cheapest", *names)])
        costs: dict[str, Money | None] = {"a/a": usd(900), "b/b": Money(5, "CNY"), "c/c": usd(100)}
        assert cheap(rig, costs) == ["c/c", "a/a", "b/b"]

    run(work())


def test_what_costs_the_same_stays_in_the_order_of_the_route() -> None:
    async def work() -> None:
        rig = two("cheapest")
        assert {tuple(cheap(rig, {"first/a": usd(5), "second/b": usd(5)})) for _ in range(50)} == {
            ("first/a", "second/b")
        }

    run(work())


# The fast path


def test_one_healthy_deployment_is_its_own_plan_and_nothing_is_noted() -> None:
    async def work() -> None:
        rig = Rig(Deployed("main"), rng=_NoDraw())
        trace = Trace(now())
        assert rig.router.planner.plan(asked(), now(), trace) is rig.router.catalog.candidates("m")
        assert not trace.measured

    run(work())


class _NoDraw(random.Random):
    def random(self) -> float:
        raise AssertionError("nothing is to be drawn")

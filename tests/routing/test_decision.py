"""What is noted of a plan, and that it stays small."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import NotFound, UpstreamFailure
from posthouse.core.money import Money
from posthouse.routing.decision import MOST, Considered, Suffers, Told, read
from posthouse.routing.model import ModelRoute, Trace
from tests.routing.rig import Deployed, Rig, answers, asked, now, refuses, run


def told(trace: Trace) -> Told:
    assert trace.decision is not None
    found = read(trace.decision.encoded())
    assert found is not None
    return found


def planned(rig: Rig, model: str = "m", **more: object) -> Told:
    trace = Trace(now())
    rig.plan(model, trace, **more)
    return told(trace)


def pair(**more: object) -> Rig:
    return Rig(Deployed("first", priority=1), Deployed("second"))


def test_nothing_is_noted_of_the_one_deployment_that_is_well() -> None:
    async def work() -> None:
        _, trace = await Rig(Deployed("main")).ask()
        assert trace.decision is None

    run(work())


def test_the_trouble_of_others_makes_nothing_to_decide_of_it() -> None:
    async def work() -> None:
        rig = Rig(Deployed("main"), Deployed("other", ("n",)))
        rig.fail("other/n", "quota")
        _, trace = await rig.ask()
        assert trace.decision is None
        rig.fail("main/m", "quota")
        _, trace = await rig.ask()
        assert [one.suffers for one in told(trace).candidates] == [Suffers("cooling", "quota", 60.0)]

    run(work())


def test_one_that_fails_is_noted_then() -> None:
    async def work() -> None:
        rig = Rig(Deployed("main"))
        rig.scripts["main/m"] = refuses(401)
        trace = Trace(now())
        with pytest.raises(UpstreamFailure):
            await rig.router.attempt(rig.plan("m", trace), asked("m"), trace)
        assert told(trace) == Told("priority", [Considered("main/m", 0, (0, 0), 1.0)])

    run(work())


def test_a_plan_notes_its_candidates_in_their_order_with_what_was_drawn_and_who_answered() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = refuses(500)
        _, trace = await rig.ask()
        found = told(trace)
        assert [(one.deployment, one.rank) for one in found.candidates] == [("first/m", (-1, 0)), ("second/m", (0, 0))]
        assert all(one.figure is not None and 0 <= one.figure <= 1 for one in found.candidates)
        assert (found.strategy, found.answered_by, found.answered_at) == ("priority", 0, 0)

    run(work())


def test_what_cools_is_noted_with_what_it_suffers_from() -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", "quota")
        await asyncio.sleep(20)
        second, first = planned(rig).candidates
        assert (second.deployment, second.suffers) == ("second/m", None)
        assert first.suffers == Suffers("cooling", "quota", 40.0)
        await asyncio.sleep(40)
        assert planned(rig).candidates[0].suffers == Suffers("waiting", "quota", 0.0)

    run(work())


def test_what_is_limited_is_noted_also_where_nobody_can_serve() -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", "rate", retry_after=30.0)
        rig.fail("second/m", "rate", retry_after=20.0)
        trace = Trace(now())
        with pytest.raises(UpstreamFailure):
            rig.plan("m", trace)
        assert [(one.deployment, one.passed_over) for one in told(trace).candidates] == [
            ("first/m", "limited"),
            ("second/m", "limited"),
        ]

    run(work())


def test_a_fallback_that_takes_over_is_noted_before_those_that_are_limited() -> None:
    async def work() -> None:
        rig = Rig(
            Deployed("first"), Deployed("spare", ("n",)), routes=[ModelRoute("r", ("m",), "priority", {"rate": ("n",)})]
        )
        rig.fail("first/m", "rate", retry_after=30.0)
        found = planned(rig, "r").candidates
        assert [(one.deployment, one.after, one.passed_over) for one in found] == [
            ("spare/n", None, None),
            ("first/m", None, "limited"),
        ]

    run(work())


def test_a_deployment_that_lacks_the_operation_is_noted_as_such() -> None:
    async def work() -> None:
        rig = pair()
        request = asked("m")
        request.operation = "embeddings"
        for candidate in rig.router.catalog.candidates("m"):
            if candidate.deployment.id == "first/m":
                del candidate.prepared["embeddings"]
        trace = Trace(now())
        rig.router.planner.plan(request, now(), trace)
        assert [(one.deployment, one.passed_over) for one in told(trace).candidates] == [
            ("second/m", None),
            ("first/m", "lacks_operation"),
        ]
        for candidate in rig.router.catalog.candidates("m"):
            candidate.prepared.pop("embeddings", None)
        with pytest.raises(NotFound):
            rig.router.planner.plan(request, now(), trace := Trace(now()))
        assert {one.passed_over for one in told(trace).candidates} == {"lacks_operation"}

    run(work())


def test_by_latency_the_scores_are_noted() -> None:
    async def work() -> None:
        rig = Rig(Deployed("a", ("a",)), Deployed("b", ("b",)), routes=[ModelRoute("r", ("a", "b"), "latency")])
        rig.scripts = {"a/a": answers(2.0), "b/b": answers(0.5)}
        for _ in range(2):
            await rig.ask("r")
        found = planned(rig, "r")
        assert found.strategy == "latency"
        assert [(one.deployment, round(one.figure or 0, 1)) for one in found.candidates] == [("b/b", 0.5), ("a/a", 2.0)]

    run(work())


def test_by_cost_the_costs_are_noted_and_the_order_is_theirs() -> None:
    async def work() -> None:
        names = ("a", "b", "c")
        rig = Rig(*(Deployed(name, (name,)) for name in names), routes=[ModelRoute("r", names, "cheapest")])
        trace = Trace(now())
        plan = rig.plan("r", trace)
        costs = {"a/a": Money(9, "USD"), "b/b": None, "c/c": Money(4, "USD")}
        given = [costs[one.deployment.id] for one in plan]
        rig.router.planner.cheapest_first(plan, given, "chat.completions", now(), trace)
        found = told(trace).candidates
        assert [(one.deployment, one.cost, one.currency) for one in found] == [
            ("c/c", 4, "USD"),
            ("a/a", 9, "USD"),
            ("b/b", None, None),
        ]

    run(work())


def test_what_others_pass_over_goes_behind_with_their_reason() -> None:
    async def work() -> None:
        rig = pair()
        trace = Trace(now())
        plan = rig.plan("m", trace)
        assert trace.decision is not None
        trace.decision.pass_over(plan[:1], "model_unpriced")
        assert [(one.deployment, one.passed_over) for one in told(trace).candidates] == [
            ("second/m", None),
            ("first/m", "model_unpriced"),
        ]

    run(work())


def test_each_credential_is_a_candidate_and_a_fallback_of_the_same_deployment_another() -> None:
    async def work() -> None:
        route = ModelRoute("r", ("m",), "priority", {"context_length": ("m",)})
        found = planned(Rig(Deployed("main", credentials=2), routes=[route]), "r").candidates
        assert [(one.credential, one.after) for one in found] == [
            (1, None),
            (2, None),
            (1, "context_length"),
            (2, "context_length"),
        ]

    run(work())


@given(st.integers(1, 60))
def test_however_wide_a_plan_is_its_record_stays_small(width: int) -> None:
    async def work() -> None:
        trace = Trace(now())
        rig = Rig(*(Deployed(f"account-{number}") for number in range(width)))
        rig.fail("account-0/m", "quota")
        rig.plan("m", trace)
        found = told(trace)
        assert len(found.candidates) == min(width, MOST)
        assert len(found.candidates) + found.left_out == width
        assert trace.decision is not None
        assert len(trace.decision.encoded()) < 100 * MOST

    run(work())


def test_a_record_of_an_older_version_is_read_and_one_that_makes_no_sense_is_none() -> None:
    assert read('["priority",[["main/m",0,[0,0],1.0]]]') == Told("priority", [Considered("main/m", 0, (0, 0), 1.0)])
    assert read('["priority",[],0,null,null,"something new"]') == Told("priority", [])
    for text in ("", "{}", "[]", "null", '["priority",3]'):
        assert read(text) is None
    assert msgspec.json.encode(Suffers("cooling", "rate", 1.5)) == b'["cooling","rate",1.5]'

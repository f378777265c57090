"""What is tried after which failure."""

import asyncio
from typing import Any

import pytest

from posthouse.core.errors import FAILOVER_KINDS, FailureKind, NotFound, UpstreamFailure
from posthouse.routing.model import ModelRoute, RoutingOptions, Trace
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.routing.rig import OPTIONS, Deployed, Rig, answers, asked, ids, in_turn, now, refuses, run

# How a provider says each kind of failure.
SAID: dict[FailureKind, Any] = {
    "auth": refuses(401),
    "quota": refuses(402),
    "rate": refuses(429),
    "context_length": refuses(400, code="context_length_exceeded"),
    "content_filter": refuses(400, code="content_filter"),
    "bad_request": refuses(400),
    "not_found": refuses(404),
    "overloaded": refuses(503),
    "timeout": refuses(504),
    "connect": refuses(522),
    "server": refuses(500),
}


def rig(
    fallbacks: dict[FailureKind, tuple[str, ...]], *models: str, options: RoutingOptions = OPTIONS, **scripts: Any
) -> Rig:
    """A route `r` over the models given (`a`, `b` without), each model at an account of its own name. Every model is
    served; scripts are given by the model's name."""
    names = sorted({*(models or ("a", "b")), *(name for names in fallbacks.values() for name in names)})
    route = ModelRoute("r", models or ("a", "b"), "priority", fallbacks)
    made = Rig(*(Deployed(name, (name,)) for name in names), routes=[route], options=options)
    made.scripts = {f"{name}/{name}": script for name, script in scripts.items()}
    return made


def came(made: Rig) -> list[str]:
    return [visit.partition("/")[0] for visit in made.visits]


@pytest.mark.parametrize("kind", SAID)
def test_without_fallbacks_what_another_deployment_may_not_have_goes_on_and_the_rest_is_told(kind: FailureKind) -> None:
    async def work() -> None:
        made = rig({}, a=SAID[kind])
        if kind in FAILOVER_KINDS:
            await made.ask("r")
            assert came(made) == ["a", "b"]
        else:
            with pytest.raises(UpstreamFailure) as caught:
                await made.ask("r")
            assert caught.value.kind == kind
            assert came(made) == ["a"]

    run(work())


@pytest.mark.parametrize("kind", ["context_length", "content_filter", "bad_request"])
def test_a_fallback_for_the_caller_s_own_fault_is_tried_at_once_and_the_rest_of_the_route_is_not(
    kind: FailureKind,
) -> None:
    async def work() -> None:
        made = rig({kind: ("long", "longer")}, a=SAID[kind], long=SAID[kind])
        _, trace = await made.ask("r")
        assert came(made) == ["a", "long", "longer"]
        assert trace.attempts == 3

    run(work())


@pytest.mark.parametrize("kind", sorted(FAILOVER_KINDS))
def test_a_fallback_for_another_failure_is_tried_behind_the_route_s_own(kind: FailureKind) -> None:
    async def work() -> None:
        made = rig({kind: ("spare",)}, a=SAID[kind], b=SAID[kind])
        await made.ask("r")
        assert came(made) == ["a", "b", "spare"]

    run(work())


@pytest.mark.parametrize("kind", sorted(FAILOVER_KINDS))
def test_an_empty_list_lets_a_failure_be_told_at_once(kind: FailureKind) -> None:
    async def work() -> None:
        made = rig({kind: ()}, a=SAID[kind])
        with pytest.raises(UpstreamFailure) as caught:
            await made.ask("r")
        assert caught.value.kind == kind
        assert came(made) == ["a"]

    run(work())


def test_a_fallback_waits_for_its_own_kind_of_failure() -> None:
    async def work() -> None:
        made = rig({"context_length": ("long",), "rate": ("spare",)}, "a", a=SAID["quota"])
        with pytest.raises(UpstreamFailure) as caught:
            await made.ask("r")
        assert caught.value.kind == "quota"
        assert came(made) == ["a"]

    run(work())


def test_a_fallback_that_fails_in_turn_leads_to_the_fallbacks_for_that() -> None:
    async def work() -> None:
        made = rig(
            {"context_length": ("long",), "server": ("spare",)}, "a", a=SAID["context_length"], long=SAID["server"]
        )
        await made.ask("r")
        assert came(made) == ["a", "long", "spare"]

    run(work())


def test_where_fallbacks_were_of_no_use_the_caller_is_told_what_it_can_act_upon() -> None:
    async def work() -> None:
        made = rig({"context_length": ("long",)}, a=SAID["context_length"], long=SAID["auth"])
        with pytest.raises(UpstreamFailure) as caught:
            await made.ask("r")
        assert caught.value.kind == "context_length"
        assert came(made) == ["a", "long"]

    run(work())


def test_nothing_is_tried_twice_that_failed_for_good() -> None:
    async def work() -> None:
        made = rig({"context_length": ("b",)}, a=SAID["server"], b=SAID["context_length"])
        with pytest.raises(UpstreamFailure) as caught:
            await made.ask("r")
        assert caught.value.kind == "context_length"
        assert came(made) == ["a", "b"]

    run(work())


def test_a_fallback_may_be_a_model_of_the_route_further_behind() -> None:
    async def work() -> None:
        made = rig({"context_length": ("c",)}, "a", "b", "c", a=SAID["context_length"])
        await made.ask("r")
        assert came(made) == ["a", "c"]

    run(work())


def test_attempts_are_bounded_over_fallbacks_too() -> None:
    async def work() -> None:
        made = rig(
            {"server": ("c", "d", "e")},
            options=RoutingOptions(max_attempts=3),
            **dict.fromkeys("abcde", SAID["server"]),
        )
        with pytest.raises(UpstreamFailure):
            await made.ask("r")
        assert came(made) == ["a", "b", "c"]

    run(work())


def test_nobody_waits_before_a_fallback_and_everybody_before_a_second_try() -> None:
    async def work() -> None:
        made = rig({"server": ("c",)}, "a", a=in_turn(SAID["server"], answers(0.0)), c=SAID["server"])
        began = now()
        await made.ask("r")
        assert came(made) == ["a", "c", "a"]
        assert now() - began >= OPTIONS.backoff * 2 * 0.5

    run(work())


def test_while_every_provider_wants_to_be_left_alone_the_fallbacks_for_that_serve() -> None:
    async def work() -> None:
        limited = refuses(429, retry_after="60")
        made = rig({"rate": ("spare",)}, a=limited, b=limited)
        for _ in range(2):
            await made.ask("r")
        assert came(made) == ["a", "b", "spare", "spare"]
        made.scripts["spare/spare"] = limited
        for _ in range(2):
            with pytest.raises(UpstreamFailure) as caught:
                await made.ask("r")
            assert caught.value.kind == "rate"
        assert came(made) == ["a", "b", "spare", "spare", "spare"]

    run(work())


def test_the_second_round_begins_with_who_may_be_asked_first() -> None:
    async def work() -> None:
        made = rig({}, a=in_turn(SAID["server"], answers(0.0)), b=refuses(429, retry_after="60"))
        await made.ask("r")
        assert came(made) == ["a", "b", "a"]

    run(work())


def test_the_plan_holds_the_fallbacks_behind_all_others() -> None:
    async def work() -> None:
        made = rig({"context_length": ("long",), "rate": ("spare",)})
        plan = made.plan("r")
        assert ids(plan)[:2] == ["a/a", "b/b"]
        assert {(one.deployment.id, one.after) for one in plan[2:]} == {
            ("long/long", "context_length"),
            ("spare/spare", "rate"),
        }
        assert [one.after for one in made.plan("long")] == [None]

    run(work())


def test_a_route_whose_own_models_nobody_serves_is_no_model() -> None:
    async def work() -> None:
        made = Rig(Deployed("main", ("long",)), routes=[ModelRoute("r", ("gone",), "priority", {"rate": ("long",)})])
        assert made.router.catalog.candidates("r") == ()
        with pytest.raises(NotFound):
            made.plan("r")

    run(work())


def test_every_kind_of_failure_is_said_in_these_tests() -> None:
    async def work() -> None:
        for kind, script in SAID.items():
            made = rig({}, "a", a=script, options=RoutingOptions(max_attempts=1))
            with pytest.raises(UpstreamFailure) as caught:
                await made.ask("r")
            assert caught.value.kind == kind

    run(work())


@pytest.mark.parametrize("taken", [0.0, 5_000.0])
def test_what_a_client_took_to_send_its_request_is_no_part_of_the_deadline(taken: float) -> None:
    async def work() -> None:
        made = rig({}, "a")
        deadlines: list[float] = []

        async def notes(request: UpstreamRequest) -> UpstreamResponse:
            deadlines.append(request.deadline)
            return await answers()(request)

        made.scripts["a/a"] = in_turn(refuses(503, 3.0), notes)
        trace = Trace(now())
        await asyncio.sleep(taken)
        began = now()
        await made.router.attempt(made.plan("a"), asked("a"), trace)
        assert deadlines == [began + OPTIONS.deadline]

    run(work())

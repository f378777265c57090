"""When a deployment cools, for how long, and who tries it again."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import FAILOVER_KINDS, FailureKind, UpstreamFailure
from posthouse.routing.health import Place, Trouble
from posthouse.routing.model import RoutingOptions
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.routing.rig import Deployed, Rig, answers, ids, in_turn, now, refuses, run

OPTIONS = RoutingOptions(max_attempts=4, cooldown=10.0, cooldown_max=45.0, failures_to_cool=3)
AT_ONCE: tuple[FailureKind, ...] = ("auth", "quota", "not_found", "rate")
IN_A_ROW: tuple[FailureKind, ...] = ("server", "timeout", "connect", "overloaded")


def pair() -> Rig:
    """`first` is preferred, `second` serves where it cools."""
    return Rig(Deployed("first", priority=1), Deployed("second"), options=OPTIONS)


def trouble(rig: Rig, name: str = "first/m") -> Trouble | None:
    return rig.router.health.report(now()).get(Place(name, "chat.completions"))


def cools(rig: Rig) -> bool:
    return ids(rig.plan())[0] == "second/m"


@pytest.mark.parametrize("kind", AT_ONCE)
def test_what_will_not_pass_by_itself_cools_at_once(kind: FailureKind) -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", kind)
        assert cools(rig)
        seconds = 10 if kind == "rate" else 60
        await asyncio.sleep(seconds - 0.001)
        assert cools(rig)
        await asyncio.sleep(0.001)
        assert not cools(rig)

    run(work())


@pytest.mark.parametrize("kind", IN_A_ROW)
def test_what_may_pass_cools_after_three_in_a_row(kind: FailureKind) -> None:
    async def work() -> None:
        rig = pair()
        for _ in range(2):
            rig.fail("first/m", kind)
            assert not cools(rig)
        await rig.ask()
        for _ in range(2):
            rig.fail("first/m", kind)
        assert not cools(rig)
        rig.fail("first/m", kind)
        assert cools(rig)
        found = trouble(rig)
        assert found == Trouble(kind, 3, 10.0, "cooling")

    run(work())


@pytest.mark.parametrize("kind", ["context_length", "content_filter", "bad_request"])
def test_the_caller_s_own_fault_cools_nothing_and_shows_that_the_deployment_answers(kind: FailureKind) -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", kind)
        assert rig.router.health.all_well
        for _ in range(3):
            rig.fail("first/m", "server")
        assert cools(rig)
        rig.fail("first/m", kind)
        assert rig.router.health.all_well

    run(work())


def test_every_failure_that_goes_on_to_another_deployment_cools() -> None:
    assert {*AT_ONCE, *IN_A_ROW} == FAILOVER_KINDS


def test_the_only_deployment_is_reached_while_it_cools() -> None:
    async def work() -> None:
        rig = Rig(Deployed("first"), options=OPTIONS)
        rig.fail("first/m", "auth")
        await rig.ask()
        assert rig.visits == ["first/m"]
        assert rig.router.health.all_well

    run(work())


@pytest.mark.parametrize(
    ("kind", "seconds"), [("server", (10, 20, 40, 45, 45)), ("rate", (10, 20, 40, 45)), ("auth", (60, 60, 60))]
)
def test_each_probe_that_fails_doubles_the_cool_down_up_to_the_maximum(
    kind: FailureKind, seconds: tuple[int, ...]
) -> None:
    async def work() -> None:
        rig = pair()
        for _ in range(3 if kind == "server" else 1):
            rig.fail("first/m", kind)
        for pause in seconds:
            found = trouble(rig)
            assert found is not None
            assert found.seconds == pytest.approx(pause)
            await asyncio.sleep(pause)
            assert not cools(rig)
            rig.fail("first/m", kind)

    run(work())


def test_a_provider_s_own_wish_is_neither_shortened_nor_doubled() -> None:
    async def work() -> None:
        rig = pair()
        for _ in range(3):
            rig.fail("first/m", "rate", retry_after=7.0)
            found = trouble(rig)
            assert found is not None
            assert found.seconds == 7.0
            await asyncio.sleep(7.0)

    run(work())


def test_the_longest_wish_of_several_holds_and_an_older_answer_does_not_end_it() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = answers(5.0)
        old = asyncio.create_task(rig.ask())
        await asyncio.sleep(1)
        rig.fail("first/m", "rate", retry_after=30.0)
        rig.fail("first/m", "rate", retry_after=20.0)
        await old
        found = trouble(rig)
        assert found is not None
        assert found.seconds == pytest.approx(26.0)

    run(work())


def test_failures_of_requests_from_before_the_cool_down_do_not_prolong_it() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = refuses(500, seconds=25.0)
        slow = [asyncio.create_task(rig.ask()) for _ in range(10)]
        await asyncio.sleep(0.1)
        for _ in range(3):
            rig.fail("first/m", "server")
        await asyncio.gather(*slow)
        assert not cools(rig)
        rig.scripts["first/m"] = answers()
        rig.visits.clear()
        await rig.ask()
        assert rig.visits == ["first/m"]

    run(work())


# Probes


def test_one_request_probes_while_all_others_go_elsewhere_and_a_success_ends_it() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = answers(3.0)
        rig.fail("first/m", "quota")
        await asyncio.sleep(60)
        assert trouble(rig) == Trouble("quota", 1, 0.0, "waiting")
        probe = asyncio.create_task(rig.ask())
        await asyncio.sleep(0.1)
        assert trouble(rig) == Trouble("quota", 1, 0.0, "probing")
        await asyncio.gather(*(rig.ask() for _ in range(20)))
        assert rig.visits.count("first/m") == 1
        await probe
        assert rig.router.health.all_well
        rig.visits.clear()
        await rig.ask()
        assert rig.visits == ["first/m"]

    run(work())


def test_a_probe_that_fails_goes_on_to_the_next_deployment() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = refuses(402)
        rig.fail("first/m", "quota")
        await asyncio.sleep(60)
        _, trace = await rig.ask()
        assert rig.visits == ["first/m", "second/m"]
        assert trace.attempts == 2
        assert cools(rig)

    run(work())


def test_a_probe_whose_caller_leaves_makes_room_for_another() -> None:
    async def work() -> None:
        rig = pair()
        rig.scripts["first/m"] = answers(30.0)
        rig.fail("first/m", "quota")
        await asyncio.sleep(60)
        leaving = asyncio.create_task(rig.ask())
        await asyncio.sleep(1)
        assert cools(rig)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not cools(rig)
        assert trouble(rig) == Trouble("quota", 1, 0.0, "waiting")

    run(work())


def test_a_failover_does_not_go_to_who_is_being_probed_while_another_is_there() -> None:
    async def work() -> None:
        rig = Rig(Deployed("a", priority=3), Deployed("b", priority=2), Deployed("c", priority=1), options=OPTIONS)
        rig.scripts = {"a/m": refuses(500, seconds=2.0), "b/m": answers(30.0)}
        request = asyncio.create_task(rig.ask())
        await asyncio.sleep(1)
        rig.fail("b/m", "rate", retry_after=0.5)
        rig.fail("a/m", "quota")
        await asyncio.sleep(0.6)
        probe = asyncio.create_task(rig.ask())
        await request
        assert rig.visits == ["a/m", "b/m", "c/m"]
        probe.cancel()

    run(work())


@given(
    starts=st.lists(st.floats(0.0, 120.0), min_size=1, max_size=60),
    outages=st.integers(1, 4),
    duration=st.floats(0.01, 20.0),
    seed=st.integers(0, 1000),
)
def test_never_are_two_probes_under_way(starts: list[float], outages: int, duration: float, seed: int) -> None:
    """Whatever comes when: from its failure until its success, at most one request is at the deployment."""

    async def work() -> None:
        rig = pair()
        there = 0
        most = 0

        async def first(request: UpstreamRequest) -> UpstreamResponse:
            nonlocal there, most
            there += 1
            most = max(most, there)
            try:
                return await script(request)
            finally:
                there -= 1

        script = in_turn(*[refuses(402, seconds=duration)] * outages, answers(duration))
        rig.scripts["first/m"] = first
        rig.fail("first/m", "quota")
        random.Random(seed).shuffle(starts)

        async def ask(at: float) -> None:
            await asyncio.sleep(60 + at)
            if rig.router.health.all_well:
                return  # it has recovered: from here on everybody may come
            await rig.ask()

        await asyncio.gather(*(ask(at) for at in starts))
        assert most == 1

    run(work())


def test_what_is_gone_is_forgotten() -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", "auth")
        rig.fail("second/m", "auth")
        rig.router.health.forget(frozenset({"second/m"}))
        assert trouble(rig) is None
        assert trouble(rig, "second/m") is not None

    run(work())


def test_while_all_are_limited_the_shortest_wish_is_told() -> None:
    async def work() -> None:
        rig = pair()
        rig.fail("first/m", "rate", retry_after=50.0)
        rig.fail("second/m", "rate", retry_after=20.0)
        with pytest.raises(UpstreamFailure) as caught:
            rig.plan()
        assert (caught.value.kind, caught.value.retry_after) == ("rate", 20.0)

    run(work())


def test_a_request_whose_time_is_over_is_put_to_nobody_else() -> None:
    """Who is asked when no time is left fails at once, and would be taken for ill."""

    async def work() -> None:
        made = pair()

        async def silent(request: UpstreamRequest) -> UpstreamResponse:
            await asyncio.sleep(request.deadline - now())
            raise UpstreamFailure("timeout", "too late")

        made.scripts["first/m"] = silent
        with pytest.raises(UpstreamFailure, match="too late"):
            await made.ask("m")
        assert (made.visits, [place.deployment for place in made.router.health.report(now())]) == (
            ["first/m"],
            ["first/m"],
        )

    run(work())

"""The judge of the fault suite sees what is wrong: every rule that it holds, broken once."""

import pytest
from msgspec.structs import replace

from tests.chaos.clients import Received
from tests.chaos.judge import Absence, Booked, Budget, Evidence, judged, rate_bound
from tests.chaos.wishes import INPUTS, NUMBERS, OUTPUTS, Wish, cost_of, number_of, usage_of

USAGE = usage_of(17)
COST = cost_of(USAGE)


def answer(number: int = 17, request_id: str = "req_1", server: int = 0) -> Received:
    usage = usage_of(number)
    return Received(Wish(number, "k0"), server, 0.0, 200, request_id, True, usage, cost_of(usage))


def booked(number: int = 17, request_id: str = "req_1") -> Booked:
    usage = usage_of(number)
    cost = cost_of(usage)
    return Booked(request_id, "key_0", "acc_0", "settled", cost, cost, "journal_0", 1, "provider", usage, cost)


def evidence(received: list[Received], books: list[Booked], seen: tuple[int, ...] = (17,)) -> Evidence:
    return Evidence(received, books, dict.fromkeys(seen, "k0"), {"key_0": "k0"}, servers={0: "journal_0"})


def test_what_is_right_is_right() -> None:
    assert judged(evidence([answer()], [booked()])) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (evidence([answer()], []), "was not billed: nothing is known"),
        (evidence([answer()], [replace(booked(), state="expired", charged=0)]), "was not billed: expired"),
        (evidence([answer()], [replace(booked(), charged=COST - 1)]), f"cost {COST}, but {COST - 1} was charged"),
        (evidence([answer()], [replace(booked(), cost=0)]), "and 0 recorded"),
        (evidence([replace(answer(), cost=1)], [booked()]), "said that it cost 1"),
        (evidence([answer()], [booked(), booked(request_id="req_2")], (17, 18)), "request 17 was charged 2 times"),
        (evidence([], [booked()], ()), "which no provider has seen"),
        (
            evidence([], [replace(booked(), source="estimated", usage=(3, 3))], ()),
            "1 requests of k0 were charged that no provider has seen",
        ),
        (evidence([], [replace(booked(), state="held", charged=0)]), "is still held by journal_0"),
        (evidence([replace(answer(), whole=False, hung=True)], []), "request 17 of k0 hung at server 0"),
    ],
)
def test_every_wrong_is_named(wrong: Evidence, said: str) -> None:
    found = judged(wrong)
    assert any(said in line for line in found), found


def test_who_leaves_at_once_is_charged_for_what_was_sent() -> None:
    """Once, and as counted here."""
    gone = Received(Wish(17, "k0"), 0, 0.0, left="early")
    charge = replace(booked(), source="estimated", usage=(3, 0))
    assert judged(evidence([gone], [charge], ())) == []
    assert judged(evidence([gone], [charge, replace(charge, id="req_2")], ()))
    assert judged(evidence([gone], [booked()], ()))


@pytest.mark.parametrize("owner", ["key_0", "acc_0"])
def test_a_budget_that_is_overspent_is_named_with_what_is_still_held(owner: str) -> None:
    books = [booked(), replace(booked(18, "req_2"), state="held", charged=0, held=5)]
    found = evidence([answer()], books, (17, 18))
    found.budgets = [Budget(owner, "b", COST + 4)]
    assert f"BUDGET-14: b of {COST + 4} is overspent by 1" in judged(found)
    found.budgets = [Budget(owner, "b", COST + 5)]
    assert not [line for line in judged(found) if line.startswith("BUDGET")]


def test_what_nobody_waited_for_is_no_overspending_of_those_who_did_not_know_it() -> None:
    """Only where Redis had forgotten and the server was away for long: docs/replicas.md says so."""
    found = evidence([answer()], [booked()])
    found.budgets = [Budget("key_0", "b", COST - 1)]
    found.forgot = True
    assert judged(found)
    lost = frozenset({"req_1"})
    found.absences = [Absence("journal_0", 100_000, 120_000, lost)]
    assert judged(found) == []
    for absence in (
        Absence("journal_0", 100_000, 101_000, lost),
        Absence("journal_0", 100_000, 120_000, frozenset({"req_2"})),
        Absence("journal_0", 100_000, 120_000),
    ):
        found.absences = [absence]
        assert judged(found)
    found.absences, found.forgot = [Absence("journal_0", 100_000, 120_000, lost)], False
    assert judged(found)


def test_an_answer_of_a_server_that_is_away_may_still_be_in_its_journal() -> None:
    found = evidence([answer()], [])
    found.absences = [Absence("journal_0", 100_000)]
    assert judged(found) == []
    found.absences = [Absence("journal_0", 100_000, 200_000)]
    assert judged(found)


def test_the_usage_of_a_request_tells_its_number() -> None:
    numbers = [*range(2_000), *range(NUMBERS - 2_000, NUMBERS), *range(0, NUMBERS, 997)]
    usages = {number: usage_of(number) for number in numbers}
    assert len(set(usages.values())) == len(usages)
    assert all(number_of(usage) == number for number, usage in usages.items())
    assert all(1 <= first <= INPUTS and 1 <= second <= OUTPUTS for first, second in usages.values())


def test_the_bound_of_a_limit_is_its_burst_and_what_leaks() -> None:
    assert rate_bound(60, 10.0) == 70
    assert rate_bound(6, 5.0, gates=3) == 19

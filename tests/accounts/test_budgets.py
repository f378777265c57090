"""Budgets of keys and accounts: as JSON, by the rules, kept, and what has been paid in."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from posthouse.accounts.budgets import MAX_BUDGETS, PERIODS, Stood, budgets_to_json, stood_to_json, what_of
from posthouse.accounts.forms import (
    account_changes_of,
    account_to_json,
    key_changes_of,
    key_to_json,
    new_account_of,
    new_key_of,
)
from posthouse.accounts.model import AccountChanges, KeyChanges, NewAccount, NewKey
from posthouse.accounts.rules import check_account_changes, check_key_changes, check_new_account, check_new_key
from posthouse.accounts.service import Directory
from posthouse.core.caller import Budget
from posthouse.core.errors import InvalidRequest
from posthouse.storage import revisions
from posthouse.storage.database import Database
from posthouse.storage.tables import credits
from tests.accounts.conftest import START, Open

USD = {"amount": "1", "currency": "USD"}
WHOLE: Final[list[dict[str, Any]]] = [
    {"amount": "5.50", "currency": "CNY", "period": "month", "time_zone": "Asia/Shanghai", "model": "gpt-5"},
    {"amount": 1, "currency": "CNY", "period": "day", "time_zone": "+08:00"},
    {"amount": "9", "currency": "CNY", "kind": "limit", "period": None, "model": None},
]
BUDGETS = (
    Budget(5_500_000_000, "CNY", "month", "Asia/Shanghai", "gpt-5"),
    Budget(1_000_000_000, "CNY", "day", "+08:00"),
    Budget(9_000_000_000, "CNY", "total"),
)
PREPAID = {"kind": "prepaid", "currency": "CNY"}


def of_keys(budgets: tuple[Budget, ...]) -> list[Callable[[], None]]:
    """Where the rules look at budgets of keys."""
    new, changes = NewKey(name="k", budgets=budgets), KeyChanges(budgets=budgets)
    return [partial(check_new_key, new, START), partial(check_key_changes, changes)]


def of_accounts(budgets: tuple[Budget, ...]) -> list[Callable[[], None]]:
    new, changes = NewAccount(name="a", budgets=budgets), AccountChanges(budgets=budgets)
    return [partial(check_new_account, new), partial(check_account_changes, changes)]


def test_budgets_are_read_as_they_are_documented() -> None:
    assert new_key_of({"name": "k", "budgets": WHOLE}).budgets == BUDGETS
    account = new_account_of({"name": "a", "budgets": [*WHOLE, PREPAID]})
    assert account.budgets == (*BUDGETS, Budget(0, "CNY", "total", prepaid=True))
    assert new_key_of({"name": "k", "budgets": None, "budget": None}).budgets == ()
    assert new_key_of({"name": "k", "budgets": []}).budgets == ()


def test_one_limit_can_be_said_in_short_and_stands_in_place_of_all() -> None:
    budget = {"amount": "2", "currency": "USD", "period": "week"}
    assert new_key_of({"name": "k", "budget": budget, "budgets": None}).budgets == (Budget(2 * 10**9, "USD", "week"),)
    assert key_changes_of({"budget": budget}).budgets == (Budget(2 * 10**9, "USD", "week"),)
    assert account_changes_of({"budgets": None}).budgets == account_changes_of({"budget": None}).budgets == ()


@pytest.mark.parametrize(
    ("budgets", "short"),
    [
        ((), None),
        (BUDGETS, {"amount": "1", "currency": "CNY", "period": "day"}),
        (BUDGETS[:1], None),
        ((Budget(7, "CNY", "total", prepaid=True),), None),
        ((Budget(7, "CNY", "total", prepaid=True), BUDGETS[2]), {"amount": "9", "currency": "CNY", "period": "total"}),
    ],
)
def test_in_short_the_first_limit_for_all_models_is_shown(
    directory: Directory, budgets: tuple[Budget, ...], short: dict[str, str] | None
) -> None:
    account = directory.create_account(NewAccount(name="a", budgets=budgets))
    assert account_to_json(account)["budget"] == short


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"budget": USD, "budgets": [USD]}, "budgets"),
        ({"budgets": USD}, "budgets"),
        ({"budgets": "1 USD"}, "budgets"),
        ({"budgets": [USD, 3]}, "budgets[1]"),
        ({"budgets": [USD, {**USD, "zone": "UTC"}]}, "budgets[1].zone"),
        ({"budgets": [{"currency": "USD"}]}, "budgets[0].amount"),
        ({"budgets": [{**USD, "amount": 0.1}]}, "budgets[0].amount"),
        ({"budgets": [{**USD, "amount": "-1"}]}, "budgets[0].amount"),
        ({"budgets": [{"amount": "1"}]}, "budgets[0].currency"),
        ({"budgets": [{**USD, "period": "year"}]}, "budgets[0].period"),
        ({"budgets": [{**USD, "time_zone": 8}]}, "budgets[0].time_zone"),
        ({"budgets": [{**USD, "time_zone": ""}]}, "budgets[0].time_zone"),
        ({"budgets": [{**USD, "model": ["m"]}]}, "budgets[0].model"),
        ({"budgets": [{**USD, "kind": "postpaid"}]}, "budgets[0].kind"),
        ({"budgets": [{**PREPAID, "amount": "1"}]}, "budgets[0].amount"),
        ({"budgets": [{**PREPAID, "time_zone": "UTC"}]}, "budgets[0].time_zone"),
        ({"budgets": [{"kind": "prepaid"}]}, "budgets[0].currency"),
        ({"budget": {**USD, "time_zone": "UTC"}}, "budget.time_zone"),
        ({"budget": {**USD, "currency": "usd"}}, "budget.currency"),
        ({"budget": {**USD, "period": "year"}}, "budget.period"),
    ],
)
def test_what_is_no_budget_is_refused_by_the_name_of_its_field(body: dict[str, Any], param: str) -> None:
    for read in (new_key_of, key_changes_of, new_account_of, account_changes_of):
        with pytest.raises(InvalidRequest) as caught:
            read({"name": "n", **body})
        assert caught.value.param == param
        assert f"`{param}" in caught.value.message or param == "budgets"


AMOUNTS: Final = st.integers(0, 9_223_372_036 * 10**9)  # all that can be said
ONE: Final = st.builds(
    Budget,
    AMOUNTS,
    st.just("CNY"),
    st.sampled_from(PERIODS),
    st.sampled_from(["UTC", "Asia/Shanghai", "+05:45", "-09:30"]),
    st.none() | st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20),
)


@given(st.lists(ONE, max_size=MAX_BUDGETS, unique_by=what_of), st.booleans())
def test_whatever_budgets_the_rules_allow_are_shown_and_read_back_as_they_were(
    limits: list[Budget], prepaid: bool
) -> None:
    budgets = tuple(limits[:-1] if prepaid else limits)
    if prepaid:
        budgets = (*budgets, Budget(0, "CNY", "total", prepaid=True))
    check_account_changes(AccountChanges(budgets=budgets))
    shown = budgets_to_json(budgets)
    for one in shown:
        if one["kind"] == "prepaid":
            del one["amount"], one["time_zone"]
    assert account_changes_of({"budgets": msgspec.json.decode(msgspec.json.encode(shown))}).budgets == budgets


def test_a_change_says_budgets_by_one_name_only() -> None:
    with pytest.raises(InvalidRequest) as caught:
        key_changes_of({"budget": None, "budgets": [USD]})
    assert caught.value.param == "budgets"


@pytest.mark.parametrize(
    ("budgets", "param"),
    [
        ((Budget(-1, "USD", "day"),), "budgets[0].amount"),
        ((Budget(2**63, "USD", "day"),), "budgets[0].amount"),
        ((Budget(1, "usd", "day"),), "budgets[0].currency"),
        ((Budget(1, "", "day"),), "budgets[0].currency"),
        ((Budget(1, "USD", "day"), Budget(1, "USD", "day", "Mars/Olympus")), "budgets[1].time_zone"),
        ((Budget(1, "USD", "day", "../../etc/passwd"),), "budgets[0].time_zone"),
        ((Budget(1, "USD", "day", "+8:00"),), "budgets[0].time_zone"),
        ((Budget(1, "USD", "day", "a\x00"),), "budgets[0].time_zone"),
        ((Budget(1, "USD", "day", "x" * 5000),), "budgets[0].time_zone"),
        ((Budget(1, "USD", "day", model="a b"),), "budgets[0].model"),
        ((Budget(1, "USD", "day", model=""),), "budgets[0].model"),
        ((Budget(1, "USD", "day"), Budget(1, "CNY", "month", model="m")), "budgets[1].currency"),
        ((Budget(1, "USD", "day"), Budget(2, "USD", "day")), "budgets[1]"),
        ((Budget(1, "USD", "total", "UTC"), Budget(2, "USD", "total", "Asia/Shanghai")), "budgets[1]"),
        (
            (Budget(1, "USD", "day", model="m"), Budget(1, "USD", "day"), Budget(2, "USD", "day", model="m")),
            "budgets[2]",
        ),
        (tuple(Budget(1, "USD", "day", model=f"m{n}") for n in range(MAX_BUDGETS + 1)), "budgets"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_the_name_of_its_field(budgets: tuple[Budget, ...], param: str) -> None:
    for check in (*of_keys(budgets), *of_accounts(budgets)):
        with pytest.raises(InvalidRequest) as caught:
            check()
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("budgets", "param"),
    [
        ((Budget(0, "CNY", "day", prepaid=True),), "budgets[0].period"),
        ((Budget(0, "CNY", "total", model="m", prepaid=True),), "budgets[0].model"),
        ((Budget(0, "CNY", "total", prepaid=True), Budget(5, "CNY", "total", prepaid=True)), "budgets[1]"),
        ((Budget(0, "CNY", "total", prepaid=True), Budget(0, "USD", "total", prepaid=True)), "budgets[1].currency"),
    ],
)
def test_what_is_prepaid_is_one_balance_for_all_models(budgets: tuple[Budget, ...], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_new_account(NewAccount(name="a", budgets=budgets))
    assert caught.value.param == param


def test_a_key_is_not_prepaid() -> None:
    prepaid = (Budget(0, "CNY", "total", prepaid=True),)
    for check in of_accounts(prepaid):
        check()
    for check in of_keys(prepaid):
        with pytest.raises(InvalidRequest) as caught:
            check()
        assert caught.value.param == "budgets[0].kind"


def test_budgets_are_kept_shown_and_replaced_as_one_list(directory: Directory) -> None:
    made = directory.create_key(new_key_of({"name": "k", "budgets": WHOLE}))
    assert directory.get_key(made.key.id).budgets == BUDGETS
    assert directory.authenticate(made.secret).subjects[0].budgets == BUDGETS
    assert directory.authenticate(made.secret).apart
    shown = key_to_json(directory.get_key(made.key.id), START)
    assert shown["budgets"][0] == {**WHOLE[0], "amount": "5.5", "kind": "limit"}
    assert shown["budgets"][2] == {
        "amount": "9",
        "currency": "CNY",
        "period": "total",
        "time_zone": "UTC",
        "model": None,
        "kind": "limit",
    }
    again = key_changes_of({"budgets": [{k: v for k, v in one.items() if v is not None} for one in shown["budgets"]]})
    assert again.budgets == BUDGETS
    changed = directory.update_key(made.key.id, key_changes_of({"budget": USD}))
    assert changed.budgets == (Budget(10**9, "USD", "total"),)
    assert not directory.authenticate(made.secret).apart


def test_what_is_spent_is_shown_beside_what_is_left() -> None:
    over, under = stood_to_json([Stood(BUDGETS[1], 1_500_000_000), Stood(BUDGETS[2], 1)])
    assert (over["spent"], over["left"]) == ("1.5", "-0.5")
    assert (under["amount"], under["spent"], under["left"]) == ("9", "0.000000001", "8.999999999")


# What has been paid in


def pay(database: Database, account: str, amount: int, currency: str = "CNY") -> None:
    """A credit, as billing writes it."""
    with database.write() as connection:
        revisions.bump(connection, revisions.ACCOUNTS)
        count = len(connection.execute(credits.select()).all())
        row = {"kind": "manual", "reason": "r", "author": "a", "created_at": 1, "source": f"manual:{count}"}
        connection.execute(
            credits.insert().values(id=f"crd_{count}", account_id=account, amount=amount, currency=currency, **row)
        )


@pytest.mark.req("ACCOUNT-012")
def test_a_prepaid_budget_is_the_sum_of_what_has_been_paid_in(opened: Open, database: Database) -> None:
    directory, other = opened(), opened()
    budgets = [PREPAID, {"amount": "3", "currency": "CNY", "period": "day"}]
    account = directory.create_account(new_account_of({"name": "prepaid", "budgets": budgets}))
    secret = directory.create_key(NewKey(name="k", account=account.id)).secret
    below = directory.create_account(NewAccount(name="below", parent=account.id))
    lower = directory.create_key(NewKey(name="k", account=below.id)).secret
    assert [one.nano for one in directory.authenticate(secret).subjects[1].budgets] == [0, 3 * 10**9]
    pay(database, account.id, 5 * 10**9)
    pay(database, account.id, -(10**9))
    pay(database, account.id, 7, "USD")
    pay(database, below.id, 11)
    for one in (directory, other):
        assert one.refresh_if_changed()
        assert [budget.nano for budget in one.authenticate(secret).subjects[1].budgets] == [4 * 10**9, 3 * 10**9]
        assert one.authenticate(lower).subjects[2].budgets[0].nano == 4 * 10**9
        assert one.authenticate(lower).subjects[1].budgets == ()
    shown = account_to_json(directory.get_account("prepaid"))["budgets"][0]
    assert (shown["kind"], shown["amount"], shown["period"]) == ("prepaid", "4", "total")
    listed = {one.name: account_to_json(one)["budgets"] for one in directory.list_accounts().items}
    assert [one["amount"] for one in listed["prepaid"]] == ["4", "3"]
    directory.update_account(account.id, account_changes_of({"name": "renamed"}))
    assert directory.authenticate(secret).subjects[1].budgets[0].nano == 4 * 10**9


def test_a_change_of_a_key_after_a_credit_that_was_not_seen_brings_both(opened: Open, database: Database) -> None:
    directory = opened()
    account = directory.create_account(new_account_of({"name": "prepaid", "budgets": [PREPAID]}))
    made = directory.create_key(NewKey(name="k", account=account.id))
    pay(database, account.id, 5)
    directory.update_key(made.key.id, KeyChanges(name="l"))
    assert directory.authenticate(made.secret).subjects[1].budgets[0].nano == 5


@pytest.fixture
def asked(database: Database) -> Iterator[list[str]]:
    """The queries of credits that are made."""
    found: list[str] = []

    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "credits" in statement:
            found.append(statement)

    event.listen(database.engine, "before_cursor_execute", look)
    yield found
    event.remove(database.engine, "before_cursor_execute", look)


def test_what_has_been_paid_in_is_read_once_and_only_where_something_is_prepaid(
    opened: Open, database: Database, asked: list[str]
) -> None:
    directory = opened()
    directory.create_account(NewAccount(name="a", budgets=BUDGETS))
    directory.get_account("a")
    assert asked == []
    for number in range(3):
        directory.create_account(new_account_of({"name": f"p{number}", "budgets": [PREPAID]}))
    asked.clear()
    opened()
    assert len(asked) == 1
    asked.clear()
    directory.list_accounts()
    assert len(asked) == 1

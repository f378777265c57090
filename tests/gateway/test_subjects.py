"""Whose limits a request has to pass."""

import pytest

from posthouse.core.caller import Caller, Limits, Subject
from posthouse.gateway.subjects import HouseLimits, default_limits, house_limits, passable, subjects_of
from posthouse.settings.model import Amount, BoundSettings, LimitsSettings, ModelLimitsSettings

KEY = Subject("key_1", "key", "k", Limits(rpm=5))
ACCOUNT = Subject("acc_1", "account", "a", Limits())
CALLER = Caller("key_1", "k", "acc_1", (KEY, ACCOUNT))
HOUSE = house_limits(
    LimitsSettings(models=(ModelLimitsSettings(name="m", rpm=3),), address=BoundSettings(concurrency=2))
)


def test_where_there_are_no_other_limits_they_are_the_callers_own() -> None:
    assert subjects_of(HouseLimits(), CALLER, "m", "10.0.0.1") is CALLER.subjects


def test_a_model_and_an_address_have_limits_of_their_own() -> None:
    found = subjects_of(HOUSE, CALLER, "m", "10.0.0.1")
    assert [(one.kind, one.id) for one in found[2:]] == [("model", "model:m"), ("address", "address:10.0.0.1")]
    assert [one.limits for one in found[2:]] == [Limits(rpm=3), Limits(concurrency=2)]
    assert [one.kind for one in subjects_of(HOUSE, CALLER, "other", "")] == ["key", "account"]


def test_a_key_may_have_limits_for_a_model() -> None:
    own = Subject("model:key:key_1:m", "model", "m", Limits(rpm=1))
    key = Subject("key_1", "key", "k", Limits(), (), {"m": own})
    caller = Caller("key_1", "k", "acc_1", (key, ACCOUNT), by_model=True)
    assert subjects_of(HouseLimits(), caller, "m", "") == [key, ACCOUNT, own]
    assert subjects_of(HouseLimits(), caller, "other", "") == [key, ACCOUNT]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_an_address_counts_as_its_network(one: str, other: str, same: bool) -> None:
    assert (subjects_of(HOUSE, CALLER, "x", one)[-1] == subjects_of(HOUSE, CALLER, "x", other)[-1]) is same


def test_a_cap_that_nobody_set_is_no_more_than_could_ever_pass() -> None:
    def bound(limits: Limits) -> list[Subject]:
        return [Subject("key_1", "key", "k", limits)]

    assert passable(bound(Limits(tpm=100, tpd=90)), 40, 1000) == 50
    assert passable(bound(Limits(request_tokens=30)), 40, 1000) == 0
    assert passable(bound(Limits()), 40, 1000) == 1000


def test_the_settings_say_what_a_key_is_limited_to() -> None:
    settings = LimitsSettings(rpm=5, rpd=6, request_spend=Amount("0.5"), request_currency="USD")
    assert default_limits(settings) == Limits(rpm=5, rpd=6, request_nano=500_000_000, request_currency="USD")
    assert default_limits(LimitsSettings()) == Limits()

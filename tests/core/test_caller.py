"""A caller: what a key may do."""

from posthouse.core.caller import Budget, Caller, Limits, Subject

_FREE = Subject("acc_1", "account", "default", Limits())
_BOUND = Subject("key_1", "key", "mine", Limits(rpm=5), (Budget(10, "USD", "day"),))


def test_a_key_without_a_list_may_use_every_model() -> None:
    caller = Caller("key_1", "mine", "acc_1", (_FREE,))
    assert caller.may_use("anything")
    assert not caller.has_budget


def test_a_key_with_a_list_may_use_what_is_on_it() -> None:
    caller = Caller("key_1", "mine", "acc_1", (_BOUND, _FREE), models=frozenset({"a"}))
    assert caller.may_use("a")
    assert not caller.may_use("b")
    assert caller.has_budget

"""Budgets as JSON and as rules: the most that a key or an account may spend, and what an account has paid in.

`{"amount": "5.00", "currency": "USD", "period": "month", "time_zone": "Asia/Shanghai", "model": "gpt-5", "kind":
"limit"}`, or `{"kind": "prepaid", "currency": "CNY"}`, whose amount is what has been paid in. `budgets` is a list of
them, `budget` one alone, in short. Complaints are InvalidRequest and name the field. Above: `forms`, `rules`. Below:
core.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, get_args

from msgspec import Struct

from posthouse.accounts.limits import CURRENCY, MAX_NANO, is_model, members_of, nano_of
from posthouse.core.caller import Budget, Period
from posthouse.core.errors import InvalidRequest
from posthouse.core.hours import zone_of
from posthouse.core.money import format_nano

Kind = Literal["limit", "prepaid"]
BUDGETS: Final = "budgets"
BUDGET: Final = "budget"
MAX_BUDGETS: Final = 16
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_SHORT: Final = ("amount", "currency", "period")
_MEMBERS: Final = (*_SHORT, "time_zone", "model", "kind")
_LONGEST_ZONE: Final = 64
Word = TypeVar("Word", bound=str)


class Stood(Struct, frozen=True):
    """How a budget stands: nano-units that are spent and held in its current period."""

    budget: Budget
    spent: int


def budgets_of(body: Mapping[str, Any]) -> tuple[Budget, ...]:
    """What a body says by either name; null is as good as absent."""
    short, many = body.get(BUDGET), body.get(BUDGETS)
    if short is not None and many is not None:
        raise said_twice()
    if short is not None:
        found = _limit(members_of(short, BUDGET, _SHORT), BUDGET)
        check_budget(found, BUDGET)
        return (found,)
    if many is None:
        return ()
    if not isinstance(many, list | tuple):
        raise InvalidRequest("`budgets` must be a list of budgets.", param=BUDGETS)
    return tuple([_budget(one, f"{BUDGETS}[{index}]") for index, one in enumerate(many)])


def said_twice() -> InvalidRequest:
    return InvalidRequest("`budget` is short for a list of one budget: say that or `budgets`.", param=BUDGETS)


def budgets_to_json(budgets: Sequence[Budget]) -> list[dict[str, Any]]:
    return [
        {
            "amount": format_nano(one.nano),
            "currency": one.currency,
            "period": one.period,
            "time_zone": one.zone,
            "model": one.model,
            "kind": "prepaid" if one.prepaid else "limit",
        }
        for one in budgets
    ]


def stood_to_json(stood: Sequence[Stood]) -> list[dict[str, Any]]:
    """The same with what is spent and what is left of each, which is less than nothing where one was overdrawn."""
    shown = budgets_to_json([one.budget for one in stood])
    return [
        {**plain, "spent": format_nano(one.spent), "left": format_nano(one.budget.nano - one.spent)}
        for plain, one in zip(shown, stood, strict=True)
    ]


def short_to_json(budgets: Sequence[Budget]) -> dict[str, str] | None:
    """The first limit that is for all models, in short; None without one."""
    for one in budgets:
        if one.model is None and not one.prepaid:
            return {"amount": format_nano(one.nano), "currency": one.currency, "period": one.period}
    return None


def check_budgets(budgets: Sequence[Budget], *, paid_in: bool) -> None:
    """`paid_in`: whether there may be a prepaid one."""
    if len(budgets) > MAX_BUDGETS:
        raise InvalidRequest(f"`budgets` must not have more than {MAX_BUDGETS}.", param=BUDGETS)
    same: dict[tuple[object, ...], int] = {}
    for index, one in enumerate(budgets):
        path = f"{BUDGETS}[{index}]"
        check_budget(one, path)
        if one.prepaid and not paid_in:
            raise InvalidRequest(
                f"`{path}.kind`: only an account is prepaid; a key's budget is a limit.", param=f"{path}.kind"
            )
        if one.currency != budgets[0].currency:
            param = f"{path}.currency"
            raise InvalidRequest(
                f"`{param}` must be {budgets[0].currency}, as that of the first: no price fits two.", param=param
            )
        first = same.setdefault(what_of(one), index)
        if first != index:
            raise InvalidRequest(
                f"`{path}` is for the same as `{BUDGETS}[{first}]`: one period, time zone, model and kind.", param=path
            )


def check_budget(budget: Budget, path: str) -> None:
    """What holds of each by itself."""
    if not budget.prepaid and not 0 <= budget.nano <= MAX_NANO:
        raise InvalidRequest(f"`{path}.amount` must not be negative or too large.", param=f"{path}.amount")
    if not CURRENCY.match(budget.currency):
        raise InvalidRequest(f"`{path}.currency` must be three capital letters, such as USD.", param=f"{path}.currency")
    try:
        if len(budget.zone) > _LONGEST_ZONE:
            raise ValueError("a name of a time zone is shorter")
        zone_of(budget.zone)
    except ValueError as error:
        raise InvalidRequest(f"`{path}.time_zone`: {error}.", param=f"{path}.time_zone") from None
    if budget.model is not None and not is_model(budget.model):
        raise InvalidRequest(f"`{path}.model` is not the name of a model.", param=f"{path}.model")
    if budget.prepaid and (budget.period != "total" or budget.model is not None):
        name = "model" if budget.period == "total" else "period"
        raise InvalidRequest(
            f"`{path}.{name}`: what is prepaid is for all models and for ever.", param=f"{path}.{name}"
        )


def what_of(budget: Budget) -> tuple[object, ...]:
    """What it is a budget of: no two of one subject have that in common. A total has no calendar."""
    zone = "" if budget.period == "total" else budget.zone
    return budget.currency, budget.period, zone, budget.model, budget.prepaid


def _budget(raw: object, path: str) -> Budget:
    body = members_of(raw, path, _MEMBERS)
    if _word(body, "kind", KINDS, path) == "prepaid":
        return _prepaid(body, path)
    return _limit(body, path)


def _limit(body: Mapping[str, Any], path: str) -> Budget:
    return Budget(
        nano_of(body.get("amount"), f"{path}.amount"),
        _currency(body, path),
        _word(body, "period", PERIODS, path),
        _text(body, "time_zone", path) or "UTC",
        _text(body, "model", path),
    )


def _prepaid(body: Mapping[str, Any], path: str) -> Budget:
    if body.get("amount") is not None:
        raise InvalidRequest(f"`{path}.amount` is what has been paid in; it is not set here.", param=f"{path}.amount")
    if body.get("time_zone") is not None:
        raise InvalidRequest(f"`{path}.time_zone`: what is prepaid has no calendar.", param=f"{path}.time_zone")
    period = _word(body, "period", PERIODS, path)
    return Budget(0, _currency(body, path), period, model=_text(body, "model", path), prepaid=True)


def _currency(body: Mapping[str, Any], path: str) -> str:
    currency = body.get("currency")
    if not isinstance(currency, str):
        raise InvalidRequest(f"`{path}.currency` is required, such as USD.", param=f"{path}.currency")
    return currency


def _text(body: Mapping[str, Any], name: str, path: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidRequest(f"`{path}.{name}` must be a string.", param=f"{path}.{name}")
    return value


def _word(body: Mapping[str, Any], name: str, known: tuple[Word, ...], path: str) -> Word:
    """The first of them where none is said."""
    value = body.get(name)
    if value is None:
        return known[0]
    for word in known:
        if value == word:
            return word
    raise InvalidRequest(f"`{path}.{name}` must be one of {', '.join(known)}.", param=f"{path}.{name}")

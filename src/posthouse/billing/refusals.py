"""What a caller is told whose money does not allow a call, and what it or the operator can do about it."""

from typing import Final

from posthouse.core.caller import Budget, Subject
from posthouse.core.errors import Forbidden, InsufficientQuota
from posthouse.core.money import Money, format_nano

_PERIODS: Final = {"total": "total", "day": "daily", "week": "weekly", "month": "monthly"}


def not_covered(subject: Subject, budget: Budget, left: int, reserve: Money) -> InsufficientQuota:
    """`left` nano-units of a budget of the subject do not cover the reserve."""
    what = "prepaid balance" if budget.prepaid else f"{_PERIODS[budget.period]} budget"
    on = "" if budget.model is None else f" for the model {budget.model!r}"
    return InsufficientQuota(
        f"The {what} of this {subject.kind}{on} ({format_nano(budget.nano)} "
        f"{budget.currency}) does not cover this request: {format_nano(max(0, left))} "
        f"{budget.currency} are left, and it may cost {format_nano(reserve.nano)}."
    )


def mismatch(subject: Subject, budget: str, price: str, what: str = "budget") -> Forbidden:
    return Forbidden(
        f"The {what} of this {subject.kind} is in {budget}, but the price of this model is in {price}, and no rate "
        f"between the two is known. The operator can give one ([[rates]] in posthouse.toml), a price in {budget} "
        f"([[prices]]), or a budget in {price}.",
        param="model",
        code="currency_mismatch",
    )


def not_within(subject: Subject, reserve: Money) -> InsufficientQuota:
    """A request may cost more than the subject's limit of a single one."""
    most, currency = subject.limits.request_nano, subject.limits.request_currency
    return InsufficientQuota(
        f"The limits of this {subject.kind} allow {format_nano(most or 0)} {currency} for one request, and this one "
        f"may cost {format_nano(reserve.nano)}. Shorten the input or lower the output cap."
    )


def no_price(model: str, why: str) -> Forbidden:
    return Forbidden(
        f"No price is known for this use of the model {model!r}, and {why}. The operator can set one in "
        f"posthouse.toml: [[prices]] with model, currency, and what it is sold by (input and output, image, "
        f"audio_second, character, search, request); or allow such models with billing.unpriced, or with `unpriced` of "
        f"the key.",
        param="model",
        code="model_unpriced",
    )

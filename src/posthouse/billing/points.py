"""Amounts that people write, in money or in points, and how they are shown again.

Points are money shown otherwise: so many of them are one unit of a currency, and each is a whole number of nano-units.
Nothing is kept in points; what is given in them is converted once, exactly.

Above: the forms of codes, credits and invitations, the webhooks. Below: settings, core.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO, Money, format_nano
from posthouse.settings import PointsSettings

# Only this: Decimal itself reads 1e9, 1_000, NaN and the digits of every script.
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,18})(\.[0-9]{1,9})?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
MAX_NANO: Final = 10**9 * NANO  # of one amount: a sum of some is still a BIGINT


class Points(Struct, frozen=True):
    """`per_unit` points are one unit of `currency`."""

    name: str
    currency: str
    per_unit: int

    @property
    def nano(self) -> int:
        """Nano-units of one point."""
        return NANO // self.per_unit

    def shown(self, nano: int) -> str:
        """The exact decimal string. `nano` divides 10^9, so there is always one."""
        # A nano-unit is this many nano-points.
        return format_nano(nano * self.per_unit)


def points_of(settings: PointsSettings) -> Points | None:
    """None where there are none."""
    if settings.currency is None or settings.per_unit is None:
        return None
    return Points(settings.name, settings.currency, settings.per_unit)


def exact_nano(raw: object, param: str, *, signed: bool = False) -> int:
    """Nano-units of an amount that is written as a decimal string, not 0; negative only where it is `signed`."""
    if not isinstance(raw, str):
        raise InvalidRequest(f'`{param}` must be a decimal string such as "5.00".', param=param)
    text = raw.removeprefix("-") if signed else raw
    if _DECIMAL.fullmatch(text) is None:
        raise InvalidRequest(f'`{param}` must be a plain decimal number such as "5.00".', param=param)
    return _checked(int(Decimal(text) * NANO), raw, param)


def money_of(body: Mapping[str, Any], points: Points | None, path: str = "", *, signed: bool = False) -> Money:
    """What `amount` and `currency`, or `points`, of a body say; never 0. InvalidRequest names the field."""
    if body.get("points") is None:
        nano = exact_nano(_required(body, "amount", path), f"{path}amount", signed=signed)
        currency = _required(body, "currency", path)
        if not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
            what = f"`{path}currency` must be three capital letters, such as USD."
            raise InvalidRequest(what, param=f"{path}currency")
        return Money(nano, currency)
    param = f"{path}points"
    if points is None:
        raise InvalidRequest(f"`{param}`: no points are set up ([points] of the settings).", param=param)
    for name in ("amount", "currency"):
        if body.get(name) is not None:
            raise InvalidRequest(f"`{path}{name}` stands beside `{param}`; give one of them.", param=f"{path}{name}")
    raw = body["points"]
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 10**19 else raw
    bare = text.removeprefix("-") if signed and isinstance(text, str) else text
    if not isinstance(bare, str) or _DECIMAL.fullmatch(bare) is None:
        raise InvalidRequest(f"`{param}` must be a whole number, or a decimal string.", param=param)
    nano_points = int(Decimal(bare) * NANO)
    if nano_points % points.per_unit:
        raise InvalidRequest(f"`{param}`: a part of a point so small is no whole number of nano-units.", param=param)
    return Money(_checked(nano_points // points.per_unit, str(text), param), points.currency)


def shown_points(points: Points | None, nano: int, currency: str) -> dict[str, Any]:
    """`{"points": "500"}` beside an amount of the points' own currency; nothing beside any other."""
    return {"points": points.shown(nano)} if points is not None and points.currency == currency else {}


def _required(body: Mapping[str, Any], name: str, path: str) -> Any:
    if body.get(name) is None:
        raise InvalidRequest(f"`{path}{name}` is required.", param=f"{path}{name}")
    return body[name]


def _checked(nano: int, text: str, param: str) -> int:
    if not nano:
        raise InvalidRequest(f"`{param}` must not be zero.", param=param)
    if nano > MAX_NANO:
        raise InvalidRequest(f"`{param}` must be at most {MAX_NANO // NANO} units.", param=param)
    return -nano if text.startswith("-") else nano

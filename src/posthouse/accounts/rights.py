"""What a key or an account may do besides models, limits and budgets: scopes, use without a price, and a credential of
its holder's own.

`{"scopes": ["chat", "embeddings"], "unpriced": "refuse", "own_credential": {"accounts": ["openai-main"],
"fee_percent": "2.5"}}`. Complaints are InvalidRequest and name the field. Above: `forms`, `rules`. Below: core.
"""

import re
from decimal import Decimal
from typing import Any, Final, get_args

from posthouse.accounts.limits import members_of
from posthouse.core.caller import OwnCredential, Unpriced
from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import SCOPES

UNPRICED: Final[tuple[Unpriced, ...]] = get_args(Unpriced)
OWN: Final = "own_credential"
MAX_PROVIDERS: Final = 100
_PPM: Final = 10_000  # millionths in one per cent
_MAX_PERCENT: Final = 1000
_PROVIDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")  # as settings.ProviderName
_PERCENT: Final = re.compile(r"\d{1,4}(?:\.(\d{1,20}))?\Z", re.ASCII)


def scopes_of(raw: object) -> tuple[str, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list | tuple):
        raise InvalidRequest("`scopes` must be a list of names, or null for all.", param="scopes")
    for index, name in enumerate(raw):
        if not isinstance(name, str) or name not in SCOPES:
            param = f"scopes[{index}]"
            raise InvalidRequest(f"`{param}` must be one of {', '.join(SCOPES)}.", param=param)
    return tuple(dict.fromkeys(raw))


def own_of(raw: object) -> OwnCredential | None:
    """`{"accounts": [names of provider accounts], "fee_percent"?: "2.5"}`."""
    if raw is None:
        return None
    body = members_of(raw, OWN, ("accounts", "fee_percent"))
    names = body.get("accounts")
    if not isinstance(names, list | tuple):
        param = f"{OWN}.accounts"
        raise InvalidRequest(f"`{param}` must be a list of names of provider accounts.", param=param)
    for index, name in enumerate(names):
        if not isinstance(name, str):
            param = f"{OWN}.accounts[{index}]"
            raise InvalidRequest(f"`{param}` must be the name of a provider account.", param=param)
    fee = body.get("fee_percent")
    return OwnCredential(frozenset(names), 0 if fee is None else _ppm_of(fee))


def own_to_json(own: OwnCredential | None) -> dict[str, Any] | None:
    if own is None:
        return None
    percent = Decimal(own.fee_ppm).scaleb(-4)
    text = f"{percent:f}"
    return {"accounts": sorted(own.accounts), "fee_percent": text.rstrip("0").rstrip(".") if "." in text else text}


def check_scopes(scopes: tuple[str, ...] | None) -> None:
    if scopes is None:
        return
    if not scopes:
        raise InvalidRequest("`scopes` must name at least one scope; leave it out for all.", param="scopes")
    scopes_of(scopes)


def check_own(own: OwnCredential | None) -> None:
    if own is None:
        return
    param = f"{OWN}.accounts"
    if not 1 <= len(own.accounts) <= MAX_PROVIDERS:
        raise InvalidRequest(f"`{param}` must name 1 to {MAX_PROVIDERS} provider accounts.", param=param)
    if not all(map(_PROVIDER.match, own.accounts)):
        raise InvalidRequest(f"`{param}` has what is not the name of a provider account.", param=param)
    if not 0 <= own.fee_ppm <= _MAX_PERCENT * _PPM:
        raise _no_fee()


def _ppm_of(raw: object) -> int:
    """Millionths of a percentage. A number is what its shortest spelling says: 0.1 is a tenth."""
    found = None if isinstance(raw, bool) or not isinstance(raw, int | float | str) else _PERCENT.match(_spelt(raw))
    if found is None or len((found[1] or "").rstrip("0")) > 4:
        raise _no_fee()
    ppm = int(Decimal(found[0]) * _PPM)
    if ppm > _MAX_PERCENT * _PPM:
        raise _no_fee()
    return ppm


def _spelt(number: float | str) -> str:
    if isinstance(number, str):
        return number
    if isinstance(number, int):  # Python takes long to spell very large integers
        return str(number) if 0 <= number <= _MAX_PERCENT else ""
    return f"{Decimal(repr(number)):f}"


def _no_fee() -> InvalidRequest:
    param = f"{OWN}.fee_percent"
    return InvalidRequest(
        f'`{param}` must be from 0 to {_MAX_PERCENT}, such as "2.5", with at most 4 decimal places.', param=param
    )

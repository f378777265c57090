"""Limits as JSON and as rules: what a key, an account or a single model of theirs may be limited to.

`{"rpm": 60, "tpd": 1000000, "request_spend": {"amount": "0.50", "currency": "USD"}, "models": {"gpt-5": {"rpm": 5}}}`.
Complaints are InvalidRequest and name the field. Above: `forms`, `rules`. Below: core.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from posthouse.core.caller import Limits
from posthouse.core.errors import InvalidRequest
from posthouse.core.money import format_nano, parse_nano

MAX_MODEL_LIMITS: Final = 256
COUNTS: Final = {
    "rpm": 10**9,
    "tpm": 10**12,
    "concurrency": 10**6,
    "rph": 10**11,
    "rpd": 10**12,
    "tpd": 10**15,
    "ipm": 10**9,
    "ipd": 10**12,
    "request_tokens": 10**12,
}
"""What can be counted, and the most that a limit on it may be."""
SPEND: Final = "request_spend"
MODELS: Final = "models"
NAMES: Final = (*COUNTS, SPEND, MODELS)
CURRENCY: Final = re.compile(r"[A-Z]{3}\Z")
MAX_NANO: Final = 2**63 - 1
_MAX_WHOLE: Final = 10**12  # above it no amount can be stored, and Python takes long to spell very large integers


def limits_of(raw: object) -> tuple[dict[str, Any], dict[str, Limits] | None]:
    """The fields of `Limits` that are said, and the limits of single models, None where none are said."""
    if raw is None:
        return {}, None
    body = members_of(raw, "limits", NAMES)
    models = body.get(MODELS)
    if MODELS not in body:
        return _fields(body, "limits"), None
    if models is None:
        return _fields(body, "limits"), {}
    if not isinstance(models, dict):
        raise InvalidRequest("`limits.models` must be a JSON object of models and limits.", param="limits.models")
    found = {}
    for model, own in models.items():
        path = f"limits.models.{model[:200]}"
        found[model] = Limits(**_fields(members_of(own, path, tuple(COUNTS)), path))
    return _fields(body, "limits"), {model: limits for model, limits in found.items() if limits != Limits()}


def none_of_all() -> dict[str, Any]:
    """The changes that take every limit away."""
    return {**dict.fromkeys(Limits.__struct_fields__), "model_limits": {}}


def limits_to_json(limits: Limits, models: Mapping[str, Limits] | None = None) -> dict[str, Any]:
    """Every limit there can be, null where it is not set; those of single models only with what is set."""
    shown: dict[str, Any] = {name: getattr(limits, name) for name in COUNTS}
    shown[SPEND] = None
    if limits.request_nano is not None:
        shown[SPEND] = {"amount": format_nano(limits.request_nano), "currency": limits.request_currency}
    if models is not None:
        given = {model: limits_to_json(own) for model, own in models.items()}
        shown[MODELS] = {
            model: {name: value for name, value in own.items() if value is not None} for model, own in given.items()
        }
    return shown


def check_limits(values: Mapping[str, Any], models: Mapping[str, Limits] | None) -> None:
    """`values` are fields of `Limits`, by their names."""
    _check(values, "limits")
    if models is None:
        return
    if len(models) > MAX_MODEL_LIMITS:
        raise InvalidRequest(
            f"`limits.models` must not name more than {MAX_MODEL_LIMITS} models.", param="limits.models"
        )
    for model, own in models.items():
        path = f"limits.models.{model[:200]}"
        if not is_model(model):
            raise InvalidRequest("`limits.models` has what is not the name of a model.", param="limits.models")
        _check({name: getattr(own, name) for name in own.__struct_fields__}, path)


def is_model(name: str) -> bool:
    return bool(name) and len(name) <= 256 and " " not in name and not UNPRINTABLE.search(name)


# Control characters spoil listings and logs; NUL and lone surrogates are what databases refuse to store.
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def members_of(raw: object, param: str | None, known: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object that has no members but these. `param` None is the body itself."""
    if not isinstance(raw, dict):
        what = f"`{param}`" if param else "The body"
        raise InvalidRequest(f"{what} must be a JSON object.", param=param)
    for name in raw:
        if name not in known:
            path = f"{param}.{name}" if param else str(name)
            raise InvalidRequest(f"Unknown member `{path[:200]}`; known are {', '.join(known)}.", param=path[:200])
    return raw


def nano_of(raw: object, param: str) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < _MAX_WHOLE:
        raw = str(raw)
    if not isinstance(raw, str) or len(raw) > 40:
        raise InvalidRequest(f'`{param}` must be a decimal string such as "5.00".', param=param)
    try:
        return parse_nano(raw)
    except ValueError as error:
        raise InvalidRequest(f"`{param}`: {error}.", param=param) from None


def _fields(body: Mapping[str, Any], path: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if name in COUNTS:
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise InvalidRequest(f"`{path}.{name}` must be a whole number or null.", param=f"{path}.{name}")
            fields[name] = value
        elif name == SPEND:
            fields["request_nano"], fields["request_currency"] = _spend(value, f"{path}.{SPEND}")
    return fields


def _spend(raw: object, path: str) -> tuple[int | None, str | None]:
    if raw is None:
        return None, None
    body = members_of(raw, path, ("amount", "currency"))
    currency = body.get("currency")
    if not isinstance(currency, str):
        raise InvalidRequest(f"`{path}.currency` is required, such as USD.", param=f"{path}.currency")
    return nano_of(body.get("amount"), f"{path}.amount"), currency


def _check(values: Mapping[str, Any], path: str) -> None:
    for name, most in COUNTS.items():
        value = values.get(name)
        if value is not None and not 1 <= value <= most:
            raise InvalidRequest(f"`{path}.{name}` must be from 1 to {most}.", param=f"{path}.{name}")
    nano, currency = values.get("request_nano"), values.get("request_currency")
    if nano is not None and not 0 <= nano <= MAX_NANO:
        param = f"{path}.{SPEND}.amount"
        raise InvalidRequest(f"`{param}` must not be negative or too large.", param=param)
    if currency is not None and not CURRENCY.match(currency):
        param = f"{path}.{SPEND}.currency"
        raise InvalidRequest(f"`{param}` must be three capital letters, such as USD.", param=param)

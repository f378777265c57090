"""Reads the error bodies of the world into one form. Pure; which kind of failure it is, `failures.py` decides.

Shapes: OpenAI's {error: {message, type, param, code}}; Anthropic's {type: "error", error: {type, message}}; Google's
{error: {code, message, status, details}}, also in a list; the flat {code, message, ...} of several vendors (among them
{object: "error", message, ...}); base_resp inside a 200. Beside them what frameworks do: {error: "text"}, {detail: ...}
of FastAPI and of RFC 9457, and an error inside a stream's `choices`. Each row's docstring names the
sources of its vendor's.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

_decode = msgspec.json.Decoder().decode
_MAX_RAW = 1_000


class Complaint(Struct, frozen=True):
    """What a provider said was wrong. `code`, `type` and `status` as it spelt them, None where it said nothing.

    `retry_delay` is Google's wish in seconds.
    """

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_delay: float | None = None


def complaint_of(body: bytes) -> Complaint | None:
    """The complaint in a whole JSON body or the data of an event; None where there is none, or no JSON."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list) and found:
        found = found[0]
    return of_payload(found) if isinstance(found, dict) else None


def of_payload(payload: Mapping[str, Any]) -> Complaint | None:
    """As `complaint_of`, of a decoded object."""
    error = payload.get("error")
    if isinstance(error, dict) and error:
        return _of_object(error, payload)
    if isinstance(error, str) and error:
        return Complaint(error, _word(payload.get("error_type") or payload.get("type")), _word(payload.get("code")))
    base = payload.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return Complaint(_text(base.get("status_msg")), None, _word(base["status_code"]))
    if isinstance(payload.get("choices"), list):
        return _of_choices(payload["choices"])
    return _of_flat(payload)


def _of_choices(choices: list[Any]) -> Complaint | None:
    errors = (choice.get("error") for choice in choices if isinstance(choice, dict))
    return next((_of_object(error, {}) for error in errors if isinstance(error, dict) and error), None)


def _of_object(error: Mapping[str, Any], around: Mapping[str, Any]) -> Complaint:
    message = _text(error.get("message"))
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        # An aggregator wraps what the provider behind it said; its own message says only that there was an error.
        message = f"{message}: {_text(metadata['raw'])[:_MAX_RAW]}"
    details = error.get("details")
    code = _reason(details) or _word(error.get("code"))
    return Complaint(
        message,
        _word(error.get("type")) or _word(error.get("status")),
        code if code is not None else _word(around.get("code")),
        _word(error.get("param")),
        _retry_delay(details),
    )


def _of_flat(payload: Mapping[str, Any]) -> Complaint | None:
    if payload.get("detail"):
        return _of_detail(payload["detail"], payload)
    message = payload.get("message")
    known = "code" in payload or "type" in payload or "request_id" in payload
    if not message or not known or _word(payload.get("code")) in ("0", "200"):
        return None
    if isinstance(message, dict) and "detail" in message:
        return _of_detail(message["detail"], payload)
    if isinstance(message, list):
        return _of_detail(message, payload)
    return Complaint(
        _text(message), _word(payload.get("type")), _word(payload.get("code")), _word(payload.get("param"))
    )


def _of_detail(detail: object, payload: Mapping[str, Any]) -> Complaint:
    """FastAPI's list of {loc, msg}, or one text."""
    kind, code = _word(payload.get("type")), _word(payload.get("code"))
    if not isinstance(detail, list):
        return Complaint(_text(detail), kind, code)
    places = [item for item in detail[:5] if isinstance(item, dict)]
    lines = [f"{_place(item.get('loc'))}: {_text(item.get('msg'))}" for item in places]
    return Complaint("; ".join(lines), kind, code, _place(places[0].get("loc")) if places else None)


def _place(loc: object) -> str:
    parts = [str(part) for part in loc if part != "body"] if isinstance(loc, list) else []
    return ".".join(parts)


def _reason(details: object) -> str | None:
    """What says more than the code beside it: Anthropic's `error_code`, the `reason` of Google's ErrorInfo."""
    if isinstance(details, dict):
        return _word(details.get("error_code"))
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and (reason := _word(detail.get("reason"))) is not None:
            return reason
    return None


def _retry_delay(details: object) -> float | None:
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                return float(delay[:-1])
            except ValueError:
                return None
    return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _word(value: object) -> str | None:
    """A string or a number as text; None for anything else, so that no structure passes as a code."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None

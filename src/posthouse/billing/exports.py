"""Usage and costs as providers export them: the answers of their admin APIs (JSON) and the tables of their consoles.

Which it is, is told by what is in it, not by whose it is:

- buckets of `{"start_time", "results"}` (OpenAI: organization/usage/completions and its siblings, organization/costs);
- buckets of `{"starting_at", "results"}` (Anthropic: usage_report/messages, cost_report);
- tables (comma or tab) with `start_time` or `start_time_iso` and `input_tokens` or `amount_value`;
- tables with `usage_date_utc` and `model_version`.

Several pages may stand one after the other as a JSON array. What has a name that is not known is told
(`Export.ignored`), never dropped in silence. Costs are compared in US dollars, in which both are told. Forms as
documented in November 2026.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec import Struct

from posthouse.core.errors import InvalidRequest
from posthouse.core.money import NANO

MAX_BYTES: Final = 64 << 20
CURRENCY: Final = "USD"
_MOST_IGNORED: Final = 50
_MOST_TOKENS: Final = 10**15


class Used(Struct, frozen=True):
    """What was used; None where nobody says. `input` is all input, `cached` the part of it that was read from a cache;
    `cost` in nano-units."""

    requests: int | None = None
    input: int | None = None
    cached: int | None = None
    output: int | None = None
    cost: int | None = None


class Row(Struct, frozen=True):
    """`day` is the UTC day (ISO) on which the bucket begins."""

    day: str
    model: str
    used: Used


class Export(Struct, frozen=True):
    """`days` are all that the export tells of, those on which nothing was used as well. `without_models`: it has sums
    of days only, as where nobody asked for groups. `ignored` are names of which nobody knows what they mean."""

    rows: tuple[Row, ...]
    days: frozenset[str]
    ignored: tuple[str, ...]
    without_models: bool = False


# Parts of `input_tokens` and `output_tokens`, and what says whose it was: nothing is lost by leaving them out.
_KNOWN: Final = frozenset(
    {
        *("object", "project_id", "project_name", "user_id", "user_email", "api_key_id", "api_key_name", "batch"),
        *("service_tier", "input_uncached_tokens", "input_text_tokens", "output_text_tokens", "input_audio_tokens"),
        *("input_cached_text_tokens", "input_cached_audio_tokens", "output_audio_tokens", "input_image_tokens"),
        *("input_cached_image_tokens", "output_image_tokens", "organization_id", "organization_name", "api_source"),
        *("start_time", "end_time", "start_time_iso", "end_time_iso", "model", "workspace_id", "workspace"),
        *("api_key", "usage_type", "context_window", "inference_geo", "speed", "usage_date_utc", "model_version"),
        *("account_id", "service_account_id", "currency", "amount_currency", "description", "cost_type", "token_type"),
    }
)
_INPUT: Final = {
    *("input_tokens", "uncached_input_tokens", "cache_read_input_tokens", "usage_input_tokens_no_cache"),
    *("usage_input_tokens_cache_read", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
    *("usage_input_tokens_cache_write", "cache_creation.ephemeral_1h_input_tokens"),
    *("cache_creation.ephemeral_5m_input_tokens", "cache_creation_input_tokens"),
}
_CACHED: Final = {"input_cached_tokens", "cache_read_input_tokens", "usage_input_tokens_cache_read"}
_OUTPUT: Final = {"output_tokens", "usage_output_tokens"}
_REQUESTS: Final = {"num_model_requests"}
# Counted beside tokens; our records count them too, but reconcile compares tokens and money only.
_BESIDE: Final = {"web_search_count", "server_tool_use.web_search_requests"}


def read_export(data: bytes) -> Export:
    """InvalidRequest where nothing in it is known, and where a number or a day makes no sense."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The export is not UTF-8.", param="file") from None
    if text.lstrip()[:1] in ("{", "["):
        given = _from_json(text)
    else:
        given = _from_table(text)
    rows: list[Row] = []
    days: set[str] = set()
    ignored: dict[str, None] = {}
    for day, one in given:
        days.add(day)
        if one is not None:
            rows.append(_row(day, one, ignored))
    without = bool(rows) and not any(row.model for row in rows)
    return Export(tuple(rows), frozenset(days), tuple(ignored)[:_MOST_IGNORED], without)


def _from_json(text: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    try:
        decoded = msgspec.json.decode(text, strict=True)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The export is not JSON: {error}.", param="file") from None
    for page in decoded if isinstance(decoded, list) else [decoded]:
        buckets = page.get("data") if isinstance(page, dict) else None
        if not isinstance(buckets, list):
            raise InvalidRequest("The export has no list `data` of buckets.", param="data")
        for bucket in buckets:
            yield from _bucket(bucket)


def _bucket(bucket: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
    results = bucket.get("results", bucket.get("result")) if isinstance(bucket, dict) else None
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise InvalidRequest("A bucket of the export has no list `results` of objects.", param="results")
    name = "starting_at" if "starting_at" in bucket else "start_time"
    day = _day(name, bucket.get(name))
    # OpenAI's costs are in units of the currency, Anthropic's in cents, as a decimal string.
    scale = NANO // 100 if name == "starting_at" else NANO
    yield day, None
    for result in results:
        yield day, {**_flat(result), "": scale}


def _flat(result: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, dict) and not prefix:
            flat.update(_flat(value, f"{name}."))
        else:
            flat[prefix + str(name)] = value
    return flat


def _from_table(text: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    first = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ",")
    try:
        columns = set(table.fieldnames or ())
    except csv.Error as error:
        raise InvalidRequest(f"The first line is no CSV: {error}.", param="file") from None
    at = next((name for name in ("usage_date_utc", "start_time_iso", "start_time") if name in columns), None)
    if at is None or not columns & (_INPUT | _OUTPUT | {"amount_value"}):
        shown = ", ".join(sorted(columns))[:300]
        raise InvalidRequest(f"The export is none that is known; its columns are {shown}.", param="file")
    try:
        for row in table:
            if None in row:
                raise InvalidRequest(f"Line {table.line_num} has more cells than the head.", param="file")
            day = _day(at, row[at])
            filled = {name: value for name, value in row.items() if value}
            told = filled.keys() & (_INPUT | _OUTPUT | {"amount_value"})
            yield day, {**filled, "": NANO} if told else None
    except csv.Error as error:
        raise InvalidRequest(f"Line {table.line_num} is no CSV: {error}.", param="file") from None


def _row(day: str, given: Mapping[str, Any], ignored: dict[str, None]) -> Row:
    values = {name: value for name, value in given.items() if name and value is not None}
    for name in values:
        known = name in _KNOWN or name in _INPUT | _CACHED | _OUTPUT | _REQUESTS | _BESIDE
        if not known and name not in ("amount", "amount.value", "amount.currency", "amount_value", "line_item"):
            ignored.setdefault(name)
    for name in ("currency", "amount_currency", "amount.currency"):
        if str(values.get(name, CURRENCY)).upper() != CURRENCY:
            raise InvalidRequest(f"`{name}`: costs are compared in {CURRENCY} only.", param=name)
    cost = next((values[name] for name in ("amount.value", "amount_value", "amount") if name in values), None)
    model = values.get("model") or values.get("model_version") or _model_of_item(values.get("line_item"))
    return Row(
        day,
        str(model or ""),
        Used(
            requests=_sum(values, _REQUESTS),
            input=_sum(values, _INPUT),
            cached=_sum(values, _CACHED),
            output=_sum(values, _OUTPUT),
            cost=None if cost is None else _nano(cost, given[""]),
        ),
    )


def _model_of_item(item: Any) -> str | None:
    """A line of costs is called `gpt-4o-2024-08-06, input`."""
    return str(item).partition(",")[0].strip() if item else None


def _sum(values: Mapping[str, Any], names: Iterable[str]) -> int | None:
    found = [_count(name, values[name]) for name in names if name in values]
    return sum(found) if found else None


def _count(name: str, value: Any) -> int:
    try:
        number = Decimal(str(value).replace(",", ""))
        if number == number.to_integral_value() and 0 <= number <= _MOST_TOKENS and not isinstance(value, bool):
            return int(number)
    except InvalidOperation:
        pass
    raise InvalidRequest(f"`{name}` must be a whole number, not {str(value)[:40]!r}.", param=name)


def _nano(value: Any, scale: int) -> int:
    """Rounded half up to a nano-unit: providers tell costs with more places than are billed."""
    try:
        number = Decimal(str(value))
        if number.is_finite() and abs(number) <= _MOST_TOKENS:
            return int((number * scale).quantize(Decimal(1), "ROUND_HALF_UP"))
    except InvalidOperation:
        pass
    raise InvalidRequest(f"`amount` must be a number, not {str(value)[:40]!r}.", param="amount")


def _day(name: str, value: Any) -> str:
    try:
        if isinstance(value, (int, float)) or (isinstance(value, str) and value.replace(".", "", 1).isdigit()):
            return dt.datetime.fromtimestamp(float(value), dt.UTC).date().isoformat()
        moment = dt.datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest(f"`{name}` must be a time, not {str(value)[:40]!r}.", param=name) from None
    return (moment.astimezone(dt.UTC) if moment.tzinfo is not None else moment).date().isoformat()

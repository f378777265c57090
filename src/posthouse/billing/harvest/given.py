"""What an operator hands over as a source of prices, told by its content.

A seed of ours, the table of LiteLLM, the catalog of models.dev (JSON, each as its site has it), or the objects of
genai-prices.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from posthouse.billing.harvest.merge import FIRST, Given, Merged, merge
from posthouse.billing.seed import MAX_BYTES, Seed
from posthouse.core.errors import InvalidRequest

Content = bytes | Given


def of_package(providers: Any, version: str) -> Given:
    """The providers of the installed genai-prices."""
    return Given(FIRST, version, providers)


def updated(contents: Sequence[Content], below: Seed, now: float) -> Merged:
    """A new seed of these contents, read at `now` (seconds since the epoch), upon the one that holds. InvalidRequest
    where one is nothing that we know."""
    day = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    given: list[Given] = []
    whole: bytes | None = None
    for content in contents:
        if isinstance(content, Given):
            given.append(content)
            continue
        if len(content) > MAX_BYTES:
            raise InvalidRequest("A source of prices is larger than 8 MiB.")
        try:
            found = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidRequest(f"A source of prices is not JSON: {error}.") from None
        source = _source(found)
        if source is None:
            whole = content
        else:
            given.append(Given(source, day, found))
    if whole is not None:
        return Merged(whole, [], {}) if not given else merge(given, day, Seed(data=whole))
    return merge(given, day, below)


def _source(found: Any) -> str | None:
    """Whose it is; None is a seed of ours."""
    if isinstance(found, dict):
        if "sources" in found and "providers" in found:
            return None
        values = [value for value in found.values() if isinstance(value, dict)]
        if any("litellm_provider" in value for value in values):
            return "litellm"
        if any(isinstance(value.get("models"), dict) for value in values):
            return "models.dev"
    raise InvalidRequest(
        "This is no source of prices that we know: a seed of ours, model_prices_and_context_window.json of LiteLLM, or "
        "api.json of models.dev."
    )

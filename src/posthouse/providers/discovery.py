"""Reads a provider's own list of models, in whichever of the usual shapes it comes. Pure.

OpenAI's {object: list, data: [{id}]}; a bare array of such objects or of names; Ollama's {models: [{name or model}]};
Anthropic's {data, has_more, last_id}; Google's {models: [{name: "models/...", supportedGenerationMethods}],
nextPageToken}, of which the models are taken that write text or make vectors.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

MAX_MODELS: Final = 5_000
MAX_PAGES: Final = 20
_MAX_NAME: Final = 256
_decode: Final = msgspec.json.Decoder().decode
_SERVED: Final = frozenset({"generateContent", "embedContent", "batchEmbedContents"})
_LISTS: Final = ("data", "models")
_NAMES: Final = ("id", "name", "model")


def models_of(body: bytes) -> list[str]:
    """Names of models in their order, each once; [] where the body is no list that can be read.

    Bounded: at most MAX_MODELS of at most 256 characters; a name with a control character or a blank is left out.
    """
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTS if isinstance(found.get(key), list)), [])
    if not isinstance(found, list):
        return []
    names = (_name_of(item) for item in found[:MAX_MODELS])
    return list(dict.fromkeys(name for name in names if name is not None))


def next_page(body: bytes) -> str | None:
    """The query that asks for what follows a page, None where nothing does."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    token, last = found.get("nextPageToken"), found.get("last_id")
    if isinstance(token, str) and token:
        return f"pageToken={quote(token, safe='')}"
    if found.get("has_more") is True and isinstance(last, str) and last:
        return f"after_id={quote(last, safe='')}"
    return None


def _is_served(item: Mapping[str, Any]) -> bool:
    methods = item.get("supportedGenerationMethods")
    return not isinstance(methods, list) or not _SERVED.isdisjoint(name for name in methods if isinstance(name, str))


def _name_of(item: Any) -> str | None:
    if isinstance(item, dict):
        if not _is_served(item):
            return None
        if "supportedGenerationMethods" in item and isinstance(item.get("name"), str):
            item = {"name": item["name"].removeprefix("models/")}
        item = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), None)
    if not isinstance(item, str) or not 0 < len(item) <= _MAX_NAME:
        return None
    return item if item.isprintable() and " " not in item else None

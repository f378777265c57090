"""Reads a provider's own list of models, in whichever of the usual shapes it comes. Pure.

OpenAI's {object: list, data: [{id}]}; a bare array of such objects or of names; Ollama's {models: [{name or model}]}.
"""

from typing import Any, Final

import msgspec

MAX_MODELS: Final = 5_000
_MAX_NAME: Final = 256
_decode: Final = msgspec.json.Decoder().decode
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


def _name_of(item: Any) -> str | None:
    if isinstance(item, dict):
        item = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), None)
    if not isinstance(item, str) or not 0 < len(item) <= _MAX_NAME:
        return None
    return item if item.isprintable() and " " not in item else None

"""A request that passes to a provider of this dialect, and in it what the house itself had handed out.

Bytes pass, but sealed state means nothing to a provider: what this one made goes back to it in its place, and what is
another's is left out.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.items import OpaqueState
from posthouse.dialects.codec import Maker
from posthouse.dialects.gemini_contents import sign_current_turn
from posthouse.dialects.gemini_fields import ERRORS, Json
from posthouse.dialects.gemini_parts import may_hold_sealed, unsealed

_decode: Final = Decoder(list[dict[str, Raw]] | dict[str, Raw]).decode
_SIGNATURE: Final = ("thoughtSignature", "thought_signature")


def own_contents(raw: Raw, maker: Maker) -> Raw:
    """The member `contents` as it goes to `maker`; the same object where nothing in it is sealed, or where it is not
    what it should be, which the provider will say."""
    body = bytes(raw)
    if not may_hold_sealed(body) or b'"parts"' not in body:
        return raw
    try:
        contents: list[Json] = [dict(content) for content in _objects(raw)]
        for content in contents:
            role: Any = msgspec.json.decode(content.get("role", Raw(b'"user"')))
            content["role"] = role
            content["parts"] = [_own(part, maker) for part in _objects(content.get("parts", Raw(b"[]")))]
    except ERRORS:
        return raw
    for content in contents:
        kept = [part for part in content["parts"] if part]
        content["parts"] = kept or [{"text": ""}]
    sign_current_turn(contents)
    return Raw(msgspec.json.encode(contents))


def _objects(raw: Raw) -> list[dict[str, Raw]]:
    """An array of objects; a single one counts as an array of one, as it does where it is translated."""
    found = _decode(raw)
    return [found] if isinstance(found, dict) else found


def _own(part: dict[str, Raw], maker: Maker) -> Json:
    """Empty where the part was there for its signature only."""
    name = next((name for name in _SIGNATURE if name in part), None)
    said: Any = None if name is None else msgspec.json.decode(part[name])
    if name is None or not isinstance(said, str):
        return dict(part)
    state = unsealed(said)
    if state == OpaqueState("", "", "", said.encode()):
        return dict(part)
    own = (state.provider, state.model, state.account) == (maker.provider, maker.model, maker.account)
    if own:
        return {**part, name: state.payload.decode("utf-8", "replace")}
    rest: Json = {key: value for key, value in part.items() if key != name}
    return {} if rest == {"text": Raw(b'""')} else rest

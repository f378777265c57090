"""A request that passes to a provider of the same dialect, and in it what the house itself had handed out.

Bytes pass, but sealed state means nothing to a provider: what this one made goes back to it in its place, and what is
another's, or only marks thoughts whose id is ours, is left out.
"""

from typing import Final

from msgspec import Raw
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import CompactionItem, ReasoningItem
from posthouse.dialects.codec import Maker
from posthouse.dialects.fields import kind_of
from posthouse.dialects.opaque import has_sealed
from posthouse.dialects.openai_responses_items import decode_item, own_payload

_decode_list: Final = Decoder(list[Raw]).decode


def own_input(raw: Raw, maker: Maker) -> Raw:
    """The member `input` as it goes to `maker`; the same object where nothing in it is sealed."""
    if not has_sealed(bytes(raw)) or kind_of(raw) != "an array":
        return raw
    items: list[bytes] = []
    for index, payload in enumerate(_decode_list(raw)):
        said = _own(payload, f"input[{index}]", maker) if has_sealed(bytes(payload)) else bytes(payload)
        if said is not None:
            items.append(said)
    return Raw(b"[" + b",".join(items) + b"]")


def _own(payload: Raw, where: str, maker: Maker) -> bytes | None:
    try:
        item = decode_item(payload, where)
    except InvalidRequest:
        return bytes(payload)  # the provider may know what it is
    if isinstance(item, ReasoningItem | CompactionItem):
        return own_payload(item.state, maker, own=True)
    return bytes(payload)

"""The list of models as the Messages API shows it. An upstream's list is read by `openai_models.decode_models`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from posthouse.dialects.openai_models import ModelCard

_encode: Final = msgspec.json.Encoder().encode
_END_OF_TIME: Final = 253402300799  # the last second that a date can tell (year 9999)


def encode_model(card: ModelCard) -> bytes:
    return _encode(_object(card))


def encode_models(cards: Sequence[ModelCard], *, has_more: bool = False) -> bytes:
    """One page of the list, `has_more` where others follow."""
    ids = [card.id for card in cards]
    return _encode(
        {
            "data": [_object(card) for card in cards],
            "has_more": has_more,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
    )


def _object(card: ModelCard) -> dict[str, Any]:
    created = datetime.fromtimestamp(min(max(card.created, 0), _END_OF_TIME), UTC)
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }

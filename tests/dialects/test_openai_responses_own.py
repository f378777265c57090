"""What a request that passes holds of ours, on its way to a provider of the same dialect."""

import json
from typing import Any

import pytest
from msgspec import Raw

from posthouse.core.items import OpaqueState
from posthouse.dialects.codec import Maker
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_responses import own_input
from posthouse.dialects.openai_responses_whole import NO_STATE
from tests.dialects.responses import MAKER

_PAYLOAD = b'{"type":"reasoning", "id":"rs_1","summary":[ ],"encrypted_content":"gAAA"}'
_MINE = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, _PAYLOAD)


def _reasoning(encrypted: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_abc_0", "summary": [], "encrypted_content": encrypted}


@pytest.mark.req("RESP-STATE-004")
def test_what_is_not_ours_keeps_its_bytes() -> None:
    for text in (b'"hello"', b'"ph1.x"', b'[ {"type":"reasoning","encrypted_content":"gAAA"} ]'):
        raw = Raw(text)
        assert own_input(raw, MAKER) is raw


@pytest.mark.req("RESP-STATE-004")
def test_sealed_state_is_opened_for_its_maker_and_left_out_for_any_other() -> None:
    user = b'{"role":"user",  "content":"say \\"ph1.\\""}'
    items = [user, *(json.dumps(_reasoning(seal(state))).encode() for state in (_MINE, NO_STATE))]
    items.append(json.dumps({"type": "compaction", "encrypted_content": seal(_MINE)}).encode())
    raw = Raw(b"[" + b" , ".join(items) + b"]")
    assert bytes(own_input(raw, MAKER)) == b"[" + b",".join([user, _PAYLOAD, _PAYLOAD]) + b"]"
    assert bytes(own_input(raw, Maker("house", "m", "spare"))) == b"[" + user + b"]"


@pytest.mark.req("RESP-STATE-004")
def test_an_item_that_makes_no_sense_is_left_to_the_provider() -> None:
    raw = Raw(b'[{"type":"compaction","encrypted_content":{"x":"ph1."}},{"x":"ph1."}]')
    assert bytes(own_input(raw, MAKER)) == bytes(raw)


@pytest.mark.req("RESP-STATE-003")
def test_a_forged_state_cannot_leave_its_place() -> None:
    forged = OpaqueState(MAKER.provider, MAKER.model, MAKER.account, b'{"type":"reasoning"}],"model":"dear","x":[1')
    raw = Raw(json.dumps([_reasoning(seal(forged))]).encode())
    assert bytes(own_input(raw, MAKER)) == b"[]"

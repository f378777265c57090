"""The order in which a translated conversation reaches a provider of OpenAI's dialects: each call answered, behind the
turn that made it."""

from typing import Any

import msgspec

from posthouse.dialects import openai_responses
from posthouse.dialects.pairing import NO_RESULT
from posthouse.providers import openai_compatible
from posthouse.providers.carriage import Carriage
from posthouse.providers.model import deployment
from posthouse.providers.prepare import body_for, prepare
from tests.providers.asking import account, chat


def told(*turns: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The messages that a server of chat completions is sent for this input of a response, and what was lost."""
    body = {"model": "public-name", "input": list(turns)}
    request = openai_responses.decode_head(msgspec.json.encode(body))
    ready = prepare(deployment(account(openai_compatible.ROW), "public-name", "model"), "responses")
    carriage = Carriage(ready, request, "req_1")
    sent = msgspec.json.decode(body_for(ready, carriage.request))
    return sent["messages"], carriage.dropped


def called(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "shell", "arguments": "{}"}


def result(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "Done."}


def test_results_stand_behind_their_calls_and_none_is_missing() -> None:
    turns = [called("call_1"), called("call_2"), {"role": "user", "content": "Wait."}, result("call_1")]
    said, dropped = told({"role": "user", "content": "Go."}, *turns)
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["tool_call_id"] for message in said[2:4]] == ["call_1", "call_2"]
    assert (said[2]["content"], NO_RESULT in said[3]["content"], said[4]["content"]) == ("Done.", True, "Wait.")
    assert dropped == ()


def test_a_conversation_in_its_order_stays() -> None:
    said, dropped = told({"role": "user", "content": "Go."}, called("call_1"), result("call_1"), called("call_2"))
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "assistant", "tool"]
    assert dropped == ()


def test_a_result_without_a_call_is_what_the_user_says() -> None:
    assert told(result("call_1")) == ([{"role": "user", "content": "Done."}], ("role",))


def test_over_responses_too() -> None:
    place = msgspec.structs.replace(account(openai_compatible.ROW), wires=("responses",))
    ready = prepare(deployment(place, "public-name", "model"), "chat.completions")
    function = {"name": "shell", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    said = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "Wait."}]
    sent = msgspec.json.decode(body_for(ready, Carriage(ready, chat(messages=said), "req_1").request))
    assert [item["type"] for item in sent["input"]] == ["function_call", "function_call_output", "message"]

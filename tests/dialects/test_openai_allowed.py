"""A choice among some of the tools, told by leaving out the others."""

import json
from typing import Any, Final

import pytest

from posthouse.core.items import InnerRequest, OpaqueTool, Tool, ToolChoice
from posthouse.core.requests import Operation
from posthouse.dialects.codec import Addressed
from posthouse.dialects.codecs import CODECS
from posthouse.dialects.openai_allowed import narrowed
from tests.dialects.inner import MAKER

NAMES: Final = ("read", "write", "patch")
CHAT: Final = {
    "messages": [{"role": "user", "content": "Hi"}],
    "tools": [
        {"type": "function", "function": {"name": "read"}},
        {"type": "function", "function": {"name": "write"}},
        {"type": "custom", "custom": {"name": "patch"}},
    ],
}
RESPONSES: Final = {
    "input": "Hi",
    "tools": [
        {"type": "function", "name": "read", "parameters": None, "strict": False},
        {"type": "function", "name": "write", "parameters": None, "strict": False},
        {"type": "custom", "name": "patch"},
        {"type": "web_search"},
    ],
}


def asked(operation: Operation, choice: Any) -> InnerRequest:
    body = {"model": "m", **(CHAT if operation == "chat.completions" else RESPONSES), "tool_choice": choice}
    return CODECS[operation].decode_request(json.dumps(body).encode(), Addressed("m"))


def among(operation: Operation, mode: str, *tools: tuple[str, str]) -> dict[str, Any]:
    if operation == "chat.completions":
        named = [{"type": kind, kind: {"name": name}} for kind, name in tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    flat: list[dict[str, Any]] = [{"type": kind, "name": name} for kind, name in tools]
    return {"type": "allowed_tools", "mode": mode, "tools": [*flat, {"type": "mcp", "server_label": "s"}]}


@pytest.mark.parametrize("operation", ["chat.completions", "responses"])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_the_others_are_not_told_of(operation: Operation, mode: str) -> None:
    request = narrowed(asked(operation, among(operation, mode, ("function", "write"), ("custom", "patch"))))
    assert [tool.name for tool in request.tools if isinstance(tool, Tool)] == ["write", "patch"]
    assert sum(isinstance(tool, OpaqueTool) for tool in request.tools) == (operation == "responses")
    assert request.tool_choice is not None
    assert (request.tool_choice, request.extra) == (ToolChoice("auto" if mode == "auto" else "required"), {})
    for provider in ("messages", "generate_content"):
        assert "tool_choice" not in CODECS[provider].encode_request(request, MAKER).dropped


@pytest.mark.parametrize("operation", ["chat.completions", "responses"])
def test_a_name_of_another_kind_is_another_tool(operation: Operation) -> None:
    request = narrowed(asked(operation, among(operation, "auto", ("custom", "write"), ("function", "patch"))))
    assert not [tool for tool in request.tools if isinstance(tool, Tool)]


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "mode": "auto"},
        {"type": "allowed_tools", "mode": "none", "tools": []},
        {"type": "allowed_tools", "mode": "auto", "tools": [1]},
        {"type": "allowed_tools", "mode": "auto", "tools": {}},
        {"type": "allowed_tools", "mode": ["auto"], "tools": []},
        {"type": "allowed_tools", "allowed_tools": []},
        {"type": ["allowed_tools"], "mode": "auto", "tools": []},
        {"type": "mcp", "server_label": "s", "mode": "auto", "tools": []},
        "future",
        [],
        7,
    ],
)
@pytest.mark.parametrize("operation", ["chat.completions", "responses"])
def test_what_is_no_such_choice_stays(operation: Operation, choice: Any) -> None:
    request = asked(operation, choice)
    assert narrowed(request) is request
    assert "tool_choice" in request.extra


@pytest.mark.parametrize("choice", [None, "auto", "required"])
def test_any_other_choice_stays(choice: Any) -> None:
    request = asked("responses", choice)
    assert narrowed(request) is request


def test_a_name_that_is_none_allows_nothing() -> None:
    tools = [{"type": "function"}, {"type": "function", "name": ["write"]}, {"type": ["function"], "name": "write"}]
    request = narrowed(asked("responses", {"type": "allowed_tools", "mode": "auto", "tools": tools}))
    assert not [tool for tool in request.tools if isinstance(tool, Tool)]

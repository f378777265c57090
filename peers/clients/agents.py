"""Coding agents: what they send, written down by hand, over plain HTTP; by the name of the face that they speak to.

No agent runs here. The shapes are those of public captures and sources of 2026 (Claude Code 2.1, Codex CLI with
`wire_api = responses`, Gemini CLI 0.2x, Cline and Roo over an OpenAI-compatible provider, aider), the sentences are our
own. What is asked of Posthouse: that it takes every such request, whatever the provider speaks, that the model is told
the instructions, the conversation, the tools and the results, and that the answer comes in the agent's own events.
"""

import http.client
import json
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from peers.clients.checking import PNG, TIMEOUT, Here, run, same, state_of

FACE: Final = sys.argv[1]
RULES: Final = "You are an agent that edits code.\n" + "Read before you write. " * 400
NAMES: Final = ("Read", "Edit", "Write", "Glob", "Grep", "Bash", "Task", "TodoWrite", "mcp__docs__search_pages")
LONG: Final = "total 8\n-rw-r--r-- 1 me me 12 main.py\n" * 50


def schema(*names: str) -> dict[str, Any]:
    """As agents write them: with $schema, bounds, enumerations, nested objects, and nothing beside."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            **{name: {"type": "string", "minLength": 1, "description": f"The {name}."} for name in names},
            "options": {
                "type": "object",
                "properties": {
                    "mode": {"type": "string", "enum": ["fast", "thorough"], "default": "fast"},
                    "limit": {"type": ["integer", "null"], "exclusiveMinimum": 0},
                    "paths": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                },
                "additionalProperties": False,
            },
        },
        "required": list(names),
        "additionalProperties": False,
    }


def post(here: Here, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    where = urlsplit(here.root)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=TIMEOUT)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, told, answer.read().decode()
    finally:
        connection.close()


def whole(here: Here, path: str, body: Any, headers: dict[str, str]) -> Any:
    status, _, text = post(here, path, body, headers)
    assert status == 200, f"{status}: {text[:500]}"
    return json.loads(text)


def events(here: Here, path: str, body: Any, headers: dict[str, str]) -> list[Any]:
    """The data of each event of a stream."""
    status, told, text = post(here, path, body, headers)
    assert status == 200, f"{status}: {text[:500]}"
    assert told["content-type"].startswith("text/event-stream"), told
    data = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def asked(here: Here, mark: str) -> str:
    """What the model was asked, as text."""
    (visit,) = here.asked(mark)
    return json.dumps(visit["body"])


def came_through(here: Here, mark: str, words: tuple[str, ...]) -> None:
    body = asked(here, mark)
    missing = [word for word in words if json.dumps(word)[1:-1] not in body and word not in body]
    assert not missing, f"the model was not told {missing}"


# --- Messages --------------------------------------------------------------------------------------------------------
CLAUDE: Final = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "prompt-caching-scope-2026-01-05,effort-2025-11-24",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.69 (external, cli)",
    "x-app": "cli",
    "x-stainless-retry-count": "0",
    "x-stainless-timeout": "600",
}
USER: Final = json.dumps(
    {"device_id": "0" * 64, "account_uuid": "", "session_id": "b4e5aaaa-9a3e-47c4-84ad-3a70f38c676e"}
)


def claude_tools() -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = [
        {"name": name, "description": f"{name}: what it does.", "input_schema": schema("file_path")} for name in NAMES
    ]
    tools[-1]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    return tools


def claude_session(here: Here, mark: str) -> dict[str, Any]:
    """A session under way: thoughts between calls, parallel results (one failed, one with a picture), reminders."""
    reminder = {"type": "text", "text": "<system-reminder>\nThe date is 2026-11-21.\n</system-reminder>"}
    first = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I look first.", "signature": state_of(mark)},
            {"type": "text", "text": "I will read the files."},
            {"type": "tool_use", "id": "toolu_01A", "name": "Read", "input": {"file_path": "/src/main.py"}},
            {"type": "tool_use", "id": "toolu_01B", "name": "Bash", "input": {"file_path": "ls", "options": {}}},
        ],
    }
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    results = {
        "role": "user",
        "content": [
            {"tool_use_id": "toolu_01A", "type": "tool_result", "content": [{"type": "text", "text": LONG}, picture]},
            {"tool_use_id": "toolu_01B", "type": "tool_result", "content": "Exit code 2", "is_error": True},
            reminder,
        ],
    }
    second = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "The second failed.", "signature": state_of(mark)},
            {"type": "tool_use", "id": "toolu_01C", "name": "Grep", "input": {"file_path": "."}},
        ],
    }
    found = {"type": "tool_result", "tool_use_id": "toolu_01C", "content": "main.py:3", "cache_control": EPHEMERAL}
    return {
        "model": here.model,
        "max_tokens": 32_000,
        "system": [
            {"type": "text", "text": "x-billing-header: cc_version=2.1.69; cc_entrypoint=cli;"},
            {"type": "text", "text": "You are the command line of somebody.", "cache_control": EPHEMERAL},
            {"type": "text", "text": RULES, "cache_control": EPHEMERAL},
        ],
        "messages": [
            {"role": "user", "content": [reminder, {"type": "text", "text": f"[history:{mark}] Mend the bug."}]},
            first,
            results,
            second,
            {"role": "user", "content": [found]},
        ],
        "tools": claude_tools(),
        "metadata": {"user_id": USER},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "stream": True,
    }


EPHEMERAL: Final = {"type": "ephemeral"}


def claude_headers(here: Here) -> dict[str, str]:
    return {**CLAUDE, "authorization": f"Bearer {here.key}"}


def claude_code(here: Here) -> None:
    mark = here.mark()
    told = events(here, "/v1/messages?beta=true", claude_session(here, mark), claude_headers(here))
    kinds = [event["type"] for event in told if event["type"] != "ping"]
    same((kinds[0], kinds[-1]), ("message_start", "message_stop"))
    text = "".join(event["delta"].get("text", "") for event in told if event["type"] == "content_block_delta")
    assert text.startswith("system=x-billing-header"), text[:100]
    assert "user=[history:" in text or "[history:" in text, text[-600:]
    words = ("Read before you write.", "I will read the files.", "/src/main.py", "Exit code 2", "main.py:3", PNG)
    came_through(here, mark, (*words, *NAMES, "2026-11-21"))


def claude_code_beside(here: Here) -> None:
    """The small requests beside a session: a title as JSON in words, a probe of one token, a count."""
    mark = here.mark()
    title = {
        "model": here.model,
        "max_tokens": 512,
        "temperature": 1,
        "system": [{"type": "text", "text": "Say a title for the session, as JSON."}],
        "messages": [{"role": "user", "content": f"[hello:{mark}]"}, {"role": "assistant", "content": "{"}],
        "metadata": {"user_id": USER},
        "tools": [],
        "stream": True,
    }
    assert events(here, "/v1/messages?beta=true", title, claude_headers(here))
    probe = {"model": here.model, "max_tokens": 1, "messages": [{"role": "user", "content": f"[hello:{here.mark()}]"}]}
    message = whole(here, "/v1/messages?beta=true", {**probe, "metadata": {"user_id": USER}}, claude_headers(here))
    same(message["type"], "message")
    session = claude_session(here, here.mark())
    counted = {name: session[name] for name in ("model", "messages", "system", "tools", "thinking")}
    path = "/v1/messages/count_tokens?beta=true"
    assert whole(here, path, counted, claude_headers(here))["input_tokens"] > 2_000


# --- Responses -------------------------------------------------------------------------------------------------------
def codex_tools() -> list[dict[str, Any]]:
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF "*** End Patch"'}
    functions = ("shell_command", "update_plan", "view_image", "write_stdin", "mcp__docs__search_pages")
    return [
        *(
            {"type": "function", "name": name, "description": f"{name}.", "strict": False, "parameters": schema("cmd")}
            for name in functions
        ),
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": grammar},
    ]


def codex_input(mark: str) -> list[dict[str, Any]]:
    def said(role: str, *texts: str) -> dict[str, Any]:
        kind = "output_text" if role == "assistant" else "input_text"
        return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}

    patch = "*** Begin Patch\n*** Update File: main.py\n@@\n-a\n+b\n*** End Patch"
    return [
        said("developer", "<permissions>read-only</permissions>"),
        said("user", "# AGENTS.md\nBe brief.", "<environment_context><cwd>/src</cwd></environment_context>"),
        said("user", f"[history:{mark}] Mend the bug."),
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": state_of(mark)},
        said("assistant", "I will look."),
        {"type": "function_call", "name": "shell_command", "arguments": '{"cmd":"ls"}', "call_id": "call_1"},
        {"type": "function_call", "name": "update_plan", "arguments": '{"cmd":"plan"}', "call_id": "call_2"},
        {"type": "function_call_output", "call_id": "call_1", "output": LONG},
        {"type": "function_call_output", "call_id": "call_2", "output": "Plan updated"},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "**Patching**"}],
            "encrypted_content": state_of(mark),
        },
        {"type": "custom_tool_call", "status": "completed", "call_id": "call_3", "name": "apply_patch", "input": patch},
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": '{"output":"Success","metadata":{}}'},
    ]


def codex(here: Here) -> None:
    mark = here.mark()
    body = {
        "model": here.model,
        "instructions": RULES,
        "input": codex_input(mark),
        "tools": codex_tools(),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-thread",
        "text": {"verbosity": "low"},
        "client_metadata": {"x-codex-installation-id": "0199"},
    }
    headers = {
        "authorization": f"Bearer {here.key}",
        "accept": "text/event-stream",
        "originator": "codex_cli_rs",
        "session-id": "0199",
        "user-agent": "codex_cli_rs/0.98.0 (Debian 13; x86_64) xterm",
    }
    told = events(here, "/v1/responses", body, headers)
    kinds = [event["type"] for event in told]
    same((kinds[0], kinds[-1]), ("response.created", "response.completed"))
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    same([item["type"] for item in done], ["message"])
    assert done[0]["content"][0]["text"].startswith("system=You are an agent"), done
    usage = told[-1]["response"]["usage"]
    same((usage["input_tokens"], usage["output_tokens"]), (20, 7))
    words = ("Read before you write.", "AGENTS.md", "/src</cwd>", "I will look.", "Plan updated", "Begin Patch")
    came_through(here, mark, (*words, "shell_command", "apply_patch", "mcp__docs__search_pages"))


# --- generateContent -------------------------------------------------------------------------------------------------
def gemini_declarations() -> list[dict[str, Any]]:
    names = ("read_file", "replace", "run_shell_command", "google_web_search", "docs__search_pages")
    return [{"name": name, "description": f"{name}.", "parametersJsonSchema": schema("path")} for name in names]


def gemini_contents(mark: str) -> list[dict[str, Any]]:
    call = {"id": "read_file-1", "name": "read_file", "args": {"path": "main.py"}}
    other = {"id": "run-2", "name": "run_shell_command", "args": {"path": "ls"}}
    return [
        {"role": "user", "parts": [{"text": "This is the context: /src"}]},
        {"role": "model", "parts": [{"text": "Got it."}]},
        {"role": "user", "parts": [{"text": f"[history:{mark}] Mend the bug."}]},
        {
            "role": "model",
            "parts": [
                {"text": "I look first.", "thought": True},
                {"text": "I will look."},
                {"functionCall": call, "thoughtSignature": state_of(mark)},
                {"functionCall": other},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": LONG}}},
                {"functionResponse": {"id": other["id"], "name": other["name"], "response": {"error": "Exit code 2"}}},
            ],
        },
    ]


def gemini_headers(here: Here) -> dict[str, str]:
    return {"x-goog-api-key": here.key, "user-agent": "GeminiCLI/0.21.0/some-model (linux; x64)"}


def gemini_cli(here: Here) -> None:
    mark = here.mark()
    body = {
        "contents": gemini_contents(mark),
        "systemInstruction": {"role": "user", "parts": [{"text": RULES}]},
        "tools": [{"functionDeclarations": gemini_declarations()}],
        "generationConfig": {
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 8192},
        },
    }
    told = events(here, f"/v1beta/models/{here.model}:streamGenerateContent?alt=sse", body, gemini_headers(here))
    parts = [part for chunk in told for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts).startswith("system=You are an agent"), parts
    same(told[-1]["candidates"][0]["finishReason"], "STOP")
    words = ("Read before you write.", "the context: /src", "Got it.", "I will look.", "Exit code 2", "main.py")
    came_through(here, mark, (*words, "read_file", "docs__search_pages"))


def gemini_cli_beside(here: Here) -> None:
    """Beside a session: who speaks next, as JSON by a schema, and a count."""
    form = {
        "type": "OBJECT",
        "properties": {"name": {"type": "STRING", "enum": ["Ada", "Bob"]}, "age": {"type": "INTEGER"}},
        "required": ["name", "age"],
    }
    config = {"temperature": 0, "topP": 1, "responseMimeType": "application/json", "responseJsonSchema": form}
    body = {
        "contents": [{"role": "user", "parts": [{"text": f"[schema:{here.mark()}]"}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Classify."}]},
        "generationConfig": {**config, "maxOutputTokens": 1024, "thinkingConfig": {"thinkingBudget": 512}},
    }
    answer = whole(here, f"/v1beta/models/{here.model}:generateContent", body, gemini_headers(here))
    text = "".join(part.get("text", "") for part in answer["candidates"][0]["content"]["parts"])
    same(json.loads(text), {"name": "Ada", "age": 36})
    counted = {"contents": gemini_contents(here.mark())}
    path = f"/v1beta/models/{here.model}:countTokens"
    assert whole(here, path, counted, gemini_headers(here))["totalTokens"] > 300


# --- chat.completions ------------------------------------------------------------------------------------------------
def chat_text(told: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in told for choice in chunk["choices"])


def editor_messages(mark: str) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": '{"path": "main.py"}'}}
        for n, name in enumerate(("read_file", "execute_command"))
    ]
    return [
        {"role": "system", "content": RULES},
        {"role": "user", "content": [{"type": "text", "text": f"<task>[history:{mark}] Mend it.</task>"}, picture]},
        {"role": "assistant", "content": "I will look.", "tool_calls": calls, "reasoning_content": "I look first."},
        {"role": "tool", "tool_call_id": "call_0", "content": LONG},
        {"role": "tool", "tool_call_id": "call_1", "content": "Exit code 2"},
        {"role": "user", "content": [{"type": "text", "text": "<environment_details>cwd: /src</environment_details>"}]},
    ]


def editor(here: Here) -> None:
    """Cline and Roo: tools, a picture, thoughts given back, usage in the stream."""
    mark = here.mark()
    names = ("read_file", "write_to_file", "execute_command", "attempt_completion", "use_mcp_tool")
    body = {
        "model": here.model,
        "messages": editor_messages(mark),
        "temperature": 0,
        "max_completion_tokens": 8192,
        "reasoning_effort": "medium",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {"type": "function", "function": {"name": name, "description": name, "parameters": schema("path")}}
            for name in names
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }
    headers = {
        "authorization": f"Bearer {here.key}",
        "http-referer": "https://editor.example",
        "x-title": "Editor",
        "user-agent": "OpenAI/JS 6.1.0",
    }
    told = events(here, "/v1/chat/completions", body, headers)
    assert chat_text(told).startswith("system=You are an agent"), told[:3]
    same(told[-1]["usage"]["completion_tokens"], 7)
    words = ("Read before you write.", "Mend it.", "I will look.", "Exit code 2", "cwd: /src", PNG)
    came_through(here, mark, (*words, *names))


def pair(here: Here) -> None:
    """aider: no tools, only text, and the same user twice in a row."""
    mark = here.mark()
    body = {
        "model": here.model,
        "messages": [
            {"role": "system", "content": RULES},
            {"role": "user", "content": "Here are the files.\nmain.py\n```\na\n```"},
            {"role": "assistant", "content": "Ok."},
            {"role": "user", "content": f"[history:{mark}] Mend the bug."},
            {"role": "user", "content": "Answer with *SEARCH/REPLACE* blocks."},
        ],
        "temperature": 0,
        "stream": True,
    }
    told = events(here, "/v1/chat/completions", body, {"authorization": f"Bearer {here.key}"})
    assert "assistant=Ok." in chat_text(told), told
    came_through(here, mark, ("Read before you write.", "```", "SEARCH/REPLACE"))


FACES: Final[dict[str, tuple[Any, ...]]] = {
    "messages": (claude_code, claude_code_beside),
    "responses": (codex,),
    "gemini": (gemini_cli, gemini_cli_beside),
    "chat": (editor, pair),
}
CHECKS: Final[tuple[Callable[[Here], None], ...]] = FACES[FACE]

if __name__ == "__main__":
    run("", CHECKS)

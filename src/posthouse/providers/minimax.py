"""MiniMax (稀宇).

The international house is `base_url` https://api.minimax.io/v1 with keys of its own. A failure is often a 200 whose
`base_resp.status_code` is not 0: 1002 and 1039 limits, 1004 and 2049 the key, 1008 no balance, 1026 and 1027 content
(into and out of the model), 2013 parameters, 2056 the plan's allowance. The vendor recommends its Messages API, under
/anthropic, which tells thoughts from the answer: what must be translated goes there.

`max_completion_tokens` is the documented cap on output, `max_tokens` the deprecated one.

Sources: platform.minimax.io/docs (errorcode, text-openai-api, text-anthropic-api), LiteLLM 1.109. Checked: 2026-11-21.
Not confirmed: `GET /models`, the status beside each code, and 1026, 1033, 2045 to 2061, which are from clients'
reports. The interfaces of embeddings, pictures and speech are other protocols and refused here.
"""

from typing import Any, Final

from posthouse.providers.model import Provider


def _repair(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """An error in `base_resp` to where OpenAI has it."""
    base = chunk.get("base_resp")
    if not isinstance(base, dict) or not base.get("status_code"):
        return None
    error = {"message": str(base.get("status_msg", "")), "type": None, "param": None, "code": str(base["status_code"])}
    return {**chunk, "error": error}


ROW: Final = Provider(
    name="minimax",
    title="MiniMax",
    docs="https://platform.minimax.io/docs",
    checked="2026-11-21",
    base_url="https://api.minimaxi.com/v1",
    env=("MINIMAX_API_KEY",),
    base_url_env="MINIMAX_BASE_URL",
    wires=("messages", "chat.completions"),
    sites=("minimax.io",),
    paths={"embeddings": None, "messages": "/../anthropic/v1/messages"},
    repair=_repair,
    repair_marker=b'"base_resp"',
    codes={
        "1000": "server",
        "1001": "timeout",
        "1002": "rate",
        "1004": "auth",
        "1008": "quota",
        "1013": "server",
        "1024": "server",
        "1026": "content_filter",
        "1027": "content_filter",
        "1033": "server",
        "1039": "rate",
        "1041": "rate",
        "2013": "bad_request",
        "2045": "rate",
        "2049": "auth",
        "2056": "quota",
        "2061": "not_found",
    },
    currency="CNY",
    price_provider="minimax",
)

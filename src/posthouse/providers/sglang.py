"""SGLang.

A server of one's own. Errors are flat: {object: error, message, type, param, code}. Messages and text
completions are known too, as are reranking, which answers a bare array, and transcriptions.

Sources: docs.sglang.io (OpenAI- and Anthropic-compatible APIs, native API), sgl-project/sglang#22073 (transcriptions)
and other clients' recordings. Checked: 2026-11-21. Not confirmed: the form of a 401, and the paths of pictures and
speech, which are therefore not offered.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="sglang",
    title="SGLang",
    docs="https://docs.sglang.ai",
    checked="2026-11-21",
    base_url="http://127.0.0.1:30000/v1",
    auth="none",
    base_url_env="SGLANG_BASE_URL",
    wires=("chat.completions", "messages", "completions"),
    offers=("audio.transcriptions", "rerank"),
    free=True,
)

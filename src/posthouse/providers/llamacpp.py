"""llama.cpp server.

A server of one's own. Errors are OpenAI's with an integer `code`; a conversation that is too long is a 400 of type
`exceed_context_size_error`. Embeddings and reranking need the server started for them. Messages, text completions and
transcriptions are known too; pictures and speech are not.

Sources: ggml-org/llama.cpp#15780 (the error), #17570 (messages), #21863 (transcriptions), tools/server/README.md.
Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="llamacpp",
    title="llama.cpp",
    docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    checked="2026-11-21",
    base_url="http://127.0.0.1:8080/v1",
    auth="none",
    base_url_env="LLAMACPP_BASE_URL",
    aliases=("llama.cpp", "llama-cpp"),
    wires=("chat.completions", "messages", "completions"),
    offers=("audio.transcriptions", "rerank"),
    free=True,
)

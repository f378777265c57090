"""vLLM.

A server of one's own. Errors are OpenAI's with the HTTP status as an integer `code`; older versions are flat with
`object: error`. Responses, Messages and text completions are known too, as are reranking, transcriptions and
translations of sound; pictures and speech where the server is started with `--omni`.

Sources: docs.vllm.ai (online serving, 0.32; OpenAI compatible server; vllm-omni, API server and speech) and LiteLLM
1.109 and other clients' recordings. Checked: 2026-11-21.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="vllm",
    title="vLLM",
    docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    checked="2026-11-21",
    base_url="http://127.0.0.1:8000/v1",
    auth="none",
    base_url_env="VLLM_BASE_URL",
    wires=("chat.completions", "responses", "messages", "completions"),
    offers=("images.generations", "audio.speech", "audio.transcriptions", "audio.translations", "rerank"),
    free=True,
)

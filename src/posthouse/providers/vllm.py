"""vLLM.

A server of one's own. Errors are OpenAI's with the HTTP status as an integer `code`; older versions are flat with
`object: error`.

Sources: docs.vllm.ai (OpenAI compatible server) through LiteLLM 1.109 and other clients' recordings. Checked:
2026-11-21.
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
    free=True,
)

"""NVIDIA NIM (hosted).

Each model has a closed schema of its own: a member that one accepts another refuses with a 422. Errors are problem
details ({status, title, detail}) or FastAPI's.

Sources: models.dev (2026-06, from docs.api.nvidia.com/nim), LiteLLM 1.109. Checked: 2026-11-21. Not confirmed: which
models know `stream_options`; where one refuses it, use `openai-compatible` for it, or tell us.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="nvidia",
    title="NVIDIA NIM",
    docs="https://docs.api.nvidia.com/nim/",
    checked="2026-11-21",
    base_url="https://integrate.api.nvidia.com/v1",
    env=("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"),
    base_url_env="NVIDIA_BASE_URL",
    aliases=("nim",),
    rename={"max_completion_tokens": "max_tokens"},
)

"""ModelScope (魔搭).

A free allowance each day over models that others serve; what a model knows depends on the model.

Sources: modelscope.cn/docs/model-service/API-Inference/intro, models.dev (2026-06), LiteLLM 1.109. Checked:
2026-11-21. Not confirmed: embeddings and error codes.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="modelscope",
    title="ModelScope",
    docs="https://modelscope.cn/docs/model-service/API-Inference/intro",
    checked="2026-11-21",
    base_url="https://api-inference.modelscope.cn/v1",
    env=("MODELSCOPE_API_KEY",),
    base_url_env="MODELSCOPE_BASE_URL",
    currency="CNY",
)

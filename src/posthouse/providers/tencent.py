"""Tencent TokenHub (腾讯云).

International accounts use `base_url` https://tokenhub-intl.tencentcloudmaas.com/v1, the older Hunyuan interface
https://api.hunyuan.cloud.tencent.com/v1; each has keys of its own.

Sources: cloud.tencent.com/document/product/1823 (133813), tencentcloud.com/document/product/1300 (78941, 2026-05,
which also names tokenhub.tencentcloudmaas.com for Guangzhou), models.dev (2026-06), LiteLLM 1.109. Checked:
2026-11-21. Not confirmed: `GET /models` at this address, embeddings, error codes; the shared rules stand for them.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="tencent",
    title="Tencent TokenHub",
    docs="https://cloud.tencent.com/document/product/1823/130050",
    checked="2026-11-21",
    base_url="https://tokenhub.tencentmaas.com/v1",
    env=("TENCENT_TOKENHUB_API_KEY", "TENCENT_API_KEY"),
    base_url_env="TENCENT_BASE_URL",
    aliases=("hunyuan", "tokenhub"),
    currency="CNY",
    price_provider="tencent",
)

"""SiliconFlow (硅基流动).

The international house is `base_url` https://api.siliconflow.com/v1 with keys of its own. Errors are flat: {code,
message, data}, with a code of five digits. The reference names `max_tokens` only.

Sources: docs.siliconflow.cn (chat, faqs/error-code: 20012, and 403 for no balance), models.dev (2026-06). Checked:
2026-11-21. Not confirmed: the other codes, which the vendor lists nowhere; where one is unknown, status and words
decide.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="siliconflow",
    title="SiliconFlow",
    docs="https://docs.siliconflow.cn",
    checked="2026-11-21",
    base_url="https://api.siliconflow.cn/v1",
    env=("SILICONFLOW_API_KEY", "SILICONFLOW_CN_API_KEY"),
    base_url_env="SILICONFLOW_BASE_URL",
    rename={"max_completion_tokens": "max_tokens"},
    codes={"20012": "not_found", "30001": "quota", "50505": "overloaded", "50603": "overloaded"},
    currency="CNY",
)

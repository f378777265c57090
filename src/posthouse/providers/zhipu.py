"""Zhipu AI (智谱, BigModel).

The path ends in /v4. Usage comes with the last chunk of every stream, asked for or not. Business codes stand in
`error.code` as text: 1000-1004 and 1110-1112 the key or the account, 1113 no money, 1211 unknown model, 1261 too
long, 1301 unsafe content, 1302, 1303 and 1305 limits, 1234 a fault of the network. A too long conversation is
sometimes accepted. The international house is `base_url` https://api.z.ai/api/paas/v4 with keys of its own. The
reference names `max_tokens` only.

Sources: docs.bigmodel.cn (chat, error codes), models.dev, LiteLLM 1.109 (`zai`). Checked: 2026-11-21. Not confirmed:
`GET /models`, which the vendor's reference does not list; where it fails, models must be named in the settings.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="zhipu",
    title="Zhipu AI (BigModel)",
    docs="https://docs.bigmodel.cn",
    checked="2026-11-21",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    env=("ZHIPUAI_API_KEY", "ZHIPU_API_KEY", "BIGMODEL_API_KEY"),
    base_url_env="ZHIPUAI_BASE_URL",
    aliases=("zhipuai", "bigmodel", "glm"),
    stream_usage="always",
    rename={"max_completion_tokens": "max_tokens"},
    codes={
        "1000": "auth",
        "1001": "auth",
        "1002": "auth",
        "1003": "auth",
        "1004": "auth",
        "1110": "auth",
        "1111": "auth",
        "1112": "auth",
        "1113": "quota",
        "1211": "not_found",
        "1221": "not_found",
        "1222": "not_found",
        "1234": "server",
        "1261": "context_length",
        "1301": "content_filter",
        "1302": "rate",
        "1303": "rate",
        "1304": "quota",
        "1305": "rate",
        "1308": "quota",
    },
    currency="CNY",
    price_provider="zhipuai",
)

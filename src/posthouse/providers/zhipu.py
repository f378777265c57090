"""Zhipu AI (智谱, BigModel).

The path ends in /v4. Usage comes with the last chunk of every stream, asked for or not. Business codes stand in
`error.code` as text. A stream that turns unsafe ends with finish reason `sensitive`. A too long conversation is
sometimes accepted. The international house is `base_url` https://api.z.ai/api/paas/v4 with keys of its own. The
reference names `max_tokens` only. The Messages API stands under /api/anthropic of either house.

Pictures, speech (WAV or PCM; with `stream` events of a form of its own), transcriptions and reranking are at their
usual places. `/moderations` is another interface than OpenAI's, and not offered.

Sources: docs.bigmodel.cn (api-code, securityaudit, Claude API, rerank, GLM-TTS), the zai-sdk package 0.2.3 (addresses,
members of a request), models.dev, LiteLLM 1.109. Checked: 2026-11-21. Not confirmed: `GET /models`, which neither the
reference nor the package has (where it fails, models must be named in the settings); that usage comes in every stream,
which is from clients' reports; speech and reranking at the international house.
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
    wires=("chat.completions", "messages"),
    sites=("z.ai",),
    offers=("images.generations", "audio.speech", "audio.transcriptions", "rerank"),
    paths={"messages": "/../../anthropic/v1/messages"},
    stream_usage="always",
    rename={"max_completion_tokens": "max_tokens"},
    codes={
        "1000": "auth",
        "1001": "auth",
        "1002": "auth",
        "1003": "auth",
        "1004": "auth",
        "1005": "auth",
        "1110": "auth",
        "1111": "auth",
        "1112": "auth",
        "1121": "auth",
        "1220": "auth",
        "1113": "quota",
        "1304": "quota",
        "1308": "quota",
        "1309": "quota",
        "1310": "quota",
        "1211": "not_found",
        "1212": "not_found",
        "1221": "not_found",
        "1222": "not_found",
        "1311": "not_found",
        "1120": "server",
        "1200": "server",
        "1230": "server",
        "1234": "server",
        "1261": "context_length",
        "1301": "content_filter",
        "1302": "rate",
        "1303": "rate",
        "1305": "rate",
        "1312": "overloaded",
        "1313": "rate",
    },
    currency="CNY",
    price_provider="zhipuai",
)

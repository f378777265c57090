"""Baidu Qianfan (百度千帆).

The v2 interface; keys look like `bce-v3/ALTAK-...`. The older one with access tokens is another protocol.
`max_completion_tokens` is the documented cap on output. Pictures are at their usual place.

Sources: cloud.baidu.com/doc/qianfan-api (image generation), ai.baidu.com/ai-doc/AppBuilder (ModelBuilder's error codes,
2025-06), PaddlePaddle/ERNIE#1031 (an error body), cloud.baidu.com/doc/WENXINWORKSHOP as others quote it. Checked:
2026-11-21. Not confirmed: `GET /models`, that `max_tokens` is known too, what an empty account answers.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="qianfan",
    title="Baidu Qianfan",
    docs="https://cloud.baidu.com/doc/qianfan-api/index.html",
    checked="2026-11-21",
    base_url="https://qianfan.baidubce.com/v2",
    env=("QIANFAN_API_KEY",),
    base_url_env="QIANFAN_BASE_URL",
    aliases=("baidu", "ernie"),
    offers=("images.generations",),
    codes={
        "invalid_iam_token": "auth",
        "invalid_appid": "auth",
        "no_parameter_permission": "auth",
        "invalid_model": "not_found",
        "tokens_too_long": "context_length",
        "characters_too_long": "context_length",
        "system_unsafe": "content_filter",
        "user_setting_unsafe": "content_filter",
        "functions_unsafe": "content_filter",
        "rpm_rate_limit_exceeded": "rate",
        "tpm_rate_limit_exceeded": "rate",
        "input_tpm_rate_limit_exceeded": "rate",
        "output_tpm_rate_limit_exceeded": "rate",
        "preemptible_rate_limit_exceeded": "rate",
        "user_rate_limit_exceeded": "rate",
        "cluster_rate_limit_exceeded": "rate",
        "cluster_rpm_rate_limit_exceeded": "rate",
        "cluster_tpm_rate_limit_exceeded": "rate",
        "internal_error": "server",
        "dispatch_internal_error": "server",
    },
    currency="CNY",
)

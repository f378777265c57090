"""Baidu Qianfan (百度千帆).

The v2 interface; keys look like `bce-v3/ALTAK-...`. The older one with access tokens is another protocol.

Sources: wire.md section 4 (from cloud.baidu.com/doc/qianfan-api). Checked: 2026-11-21, with little found. Not
confirmed: the codes but `invalid_iam_token`, `GET /models`, and that both names of the cap on output are known.
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
    codes={
        "invalid_iam_token": "auth",
        "invalid_appid": "auth",
        "access_denied": "auth",
        "account_overdue": "quota",
        "rpm_rate_limit_exceeded": "rate",
        "tpm_rate_limit_exceeded": "rate",
        "preemptible_rpm_rate_limit_exceeded": "rate",
        "invalid_model": "not_found",
        "server_high_load": "overloaded",
    },
    currency="CNY",
)

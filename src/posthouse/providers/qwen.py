"""Alibaba Cloud Model Studio (百炼, DashScope).

Keys belong to a region: another one is a `base_url` of the account (dashscope-intl.aliyuncs.com for Singapore,
dashscope-us for Virginia). Usage of a stream must be asked for. Some models think only when they stream. Errors carry
the platform's own codes, in OpenAI's shape or flat with a request id; `insufficient_quota` with a 429 is here the
allocated rate (Throttling.AllocationQuota), and an empty account is `Arrearage`. The Messages API stands under
/apps/anthropic of the same host, reranking under /compatible-api. Pictures and sound have interfaces of their own,
which are not offered here.

Sources: help.aliyun.com and alibabacloud.com, model-studio (OpenAI compatible chat, 2025-11; Anthropic-compatible
Messages, 2026-06; rerank, 2026-06; error-code), LiteLLM 1.109. Checked: 2026-11-21. Not confirmed: `GET /models` in
every region; the list of codes is not complete.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="qwen",
    title="Qwen (Alibaba Cloud Model Studio)",
    docs="https://help.aliyun.com/zh/model-studio/",
    checked="2026-11-21",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    env=("DASHSCOPE_API_KEY",),
    base_url_env="DASHSCOPE_BASE_URL",
    aliases=("dashscope", "bailian"),
    wires=("chat.completions", "messages"),
    sites=("aliyuncs.com",),
    offers=("rerank",),
    paths={
        "messages": "/../../apps/anthropic/v1/messages",
        "rerank": "/../../compatible-api/v1/reranks",
    },
    codes={
        "arrearage": "quota",
        "allocationquota": "quota",
        "insufficient_quota": "rate",
        "invalidapikey": "auth",
        "accessdenied": "auth",
        "model.accessdenied": "not_found",
        "throttling": "rate",
        "limit_requests": "rate",
        "data_inspection_failed": "content_filter",
        "datainspectionfailed": "content_filter",
        "modelnotfound": "not_found",
        "model_not_supported": "not_found",
        "modelserviceunavailable": "overloaded",
        "serviceunavailable": "overloaded",
        "requesttimeout": "timeout",
    },
    currency="CNY",
    price_provider="qwen",
)

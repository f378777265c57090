"""Volcengine Ark (火山方舟, Doubao).

A model is a model id or the id of an inference endpoint (`ep-...`). Codes have a family and a detail
(`RateLimitExceeded.EndpointRPMExceeded`); the family is what is mapped. An account in arrears is a 403.

Pictures are at their usual place, with sizes such as `2K` besides pixels; several are asked for by
`sequential_image_generation`, not by `n`, and a stream tells each as `image_generation.partial_succeeded`. Sound has
another host and another protocol.

Sources: volcengine.com/docs/82379 (1298459 base URL, 1299023 error codes, 2025-11; 1494384 chat, 1569618 responses;
image generation as others quote it), models.dev (2026-08), LiteLLM 1.109. Checked: 2026-11-21. Not confirmed: `GET
/models`; endpoints of an account are not listed by it in any case.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="doubao",
    title="Doubao (Volcengine Ark)",
    docs="https://www.volcengine.com/docs/82379",
    checked="2026-11-21",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    env=("ARK_API_KEY", "VOLCENGINE_API_KEY"),
    base_url_env="ARK_BASE_URL",
    aliases=("volcengine", "ark"),
    wires=("chat.completions", "responses"),
    offers=("images.generations",),
    codes={
        "authenticationerror": "auth",
        "accessdenied": "auth",
        "accountoverdueerror": "quota",
        "serviceoverdue": "quota",
        "quotaexceeded": "rate",
        "ratelimitexceeded": "rate",
        "accountratelimitexceeded": "rate",
        "modelaccountrpmratelimitexceeded": "rate",
        "modelaccounttpmratelimitexceeded": "rate",
        "requestbursttoofast": "rate",
        "setlimitexceeded": "quota",
        "serveroverloaded": "overloaded",
        "sensitivecontentdetected": "content_filter",
        "inputtextsensitivecontentdetected": "content_filter",
        "inputimagesensitivecontentdetected": "content_filter",
        "outputtextsensitivecontentdetected": "content_filter",
        "invalidendpointormodel": "not_found",
        "invalidendpoint": "not_found",
        "modelnotopen": "not_found",
        "unsupportedmodel": "not_found",
        "internalserviceerror": "server",
    },
    currency="CNY",
    price_provider="doubao",
)

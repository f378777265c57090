"""StepFun (阶跃星辰).

Reasoning comes as `reasoning`; `reasoning_format: deepseek-style` asks for `reasoning_content`. The reference names
`max_tokens` only.

Errors have a `type` and no code: 402 no balance, 451 refused content. Pictures, their edits, speech and transcriptions
are at their usual places.

Sources: platform.stepfun.com (guide/exception, api-reference/error-codes, audio, images), models.dev (2026-06).
Checked: 2026-11-21. Not confirmed: embeddings.
"""

from typing import Final

from posthouse.providers.model import Provider

ROW: Final = Provider(
    name="stepfun",
    title="StepFun",
    docs="https://platform.stepfun.com/docs/zh/overview/concept",
    checked="2026-11-21",
    base_url="https://api.stepfun.com/v1",
    env=("STEPFUN_API_KEY",),
    base_url_env="STEPFUN_BASE_URL",
    aliases=("step",),
    offers=("images.generations", "images.edits", "audio.speech", "audio.transcriptions"),
    rename={"max_completion_tokens": "max_tokens"},
    codes={"451": "content_filter"},
    currency="CNY",
    price_provider="stepfun",
)

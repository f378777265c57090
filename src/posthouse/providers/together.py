"""Together AI.

Errors are OpenAI's with an id beside them; a 403 means that input and `max_tokens` exceed the context. The request
has no `max_completion_tokens`. `GET /models` answers a bare array. Pictures are asked for with `width` and `height`,
and as `base64`; sound and reranking are at their usual places.

Sources: docs.together.ai (error-codes), the together package 3.1.1 (addresses, members of a request), models.dev
(2026-06). Checked: 2026-11-21. Not confirmed: `stream_options`, which the package does not list though other clients
send it; usage is a member of its chunks.
"""

import re
from typing import Final

from msgspec import Raw

from posthouse.core.requests import ModelRequest
from posthouse.providers.model import Fields, Provider

_SIZE: Final = re.compile(rb'"(\d{1,5})x(\d{1,5})"')


def _pictures(fields: Fields, _: ModelRequest) -> Fields:
    """Size and format in the vendor's words; a size that is none (`auto`) is left to the vendor."""
    size = _SIZE.fullmatch(bytes(fields.pop("size", b"")))
    if size is not None:
        fields.setdefault("width", Raw(size[1]))
        fields.setdefault("height", Raw(size[2]))
    if bytes(fields.get("response_format", b"")) == b'"b64_json"':
        fields["response_format"] = Raw(b'"base64"')
    return fields


ROW: Final = Provider(
    name="together",
    title="Together AI",
    docs="https://docs.together.ai",
    checked="2026-11-21",
    base_url="https://api.together.ai/v1",
    env=("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
    base_url_env="TOGETHER_BASE_URL",
    aliases=("togetherai",),
    offers=("images.generations", "audio.speech", "audio.transcriptions", "audio.translations", "rerank"),
    rename={"max_completion_tokens": "max_tokens"},
    reshape={"images.generations": _pictures},
    codes={"403": "context_length"},
    price_provider="together",
)

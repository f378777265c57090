"""SiliconFlow (硅基流动).

The international house is `base_url` https://api.siliconflow.com/v1 with keys of its own. Errors are flat: {code,
message, data}, with a code of five digits. The reference names `max_tokens` only.

Pictures are asked for with `image_size` and `batch_size`, and come as `images`. Speech, transcriptions and reranking
are at their usual places; a rerank tells its tokens as `tokens`.

Sources: docs.siliconflow.cn (chat, messages, images, audio, rerank, faqs/error-code: 20012, and 403 for no balance),
models.dev (2026-06). Checked: 2026-11-21. Not confirmed: the other codes, which the vendor lists nowhere; where one is
unknown, status and words decide.
"""

from typing import Final

from posthouse.core.requests import ModelRequest
from posthouse.providers.model import Fields, Provider

_PICTURES: Final = {"size": "image_size", "n": "batch_size"}


def _pictures(fields: Fields, _: ModelRequest) -> Fields:
    """Members by the vendor's names, where the client does not use these itself."""
    renamed = {_PICTURES.get(name, name): raw for name, raw in fields.items()}
    return renamed | {name: fields[name] for name in _PICTURES.values() if name in fields}


ROW: Final = Provider(
    name="siliconflow",
    title="SiliconFlow",
    docs="https://docs.siliconflow.cn",
    checked="2026-11-21",
    base_url="https://api.siliconflow.cn/v1",
    env=("SILICONFLOW_API_KEY", "SILICONFLOW_CN_API_KEY"),
    base_url_env="SILICONFLOW_BASE_URL",
    wires=("chat.completions", "messages"),
    sites=("siliconflow.com",),
    offers=("images.generations", "audio.speech", "audio.transcriptions", "rerank"),
    reshape={"images.generations": _pictures},
    rename={"max_completion_tokens": "max_tokens"},
    codes={"20012": "not_found", "30001": "quota", "50505": "overloaded", "50603": "overloaded"},
    currency="CNY",
    price_provider="siliconflow",
)

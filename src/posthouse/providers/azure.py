"""Azure OpenAI and Microsoft Foundry, both shapes.

v1 (no `api_version` in the settings): `<base_url>/openai/v1/chat/completions`, the model being the deployment's name.
Classic (with `api_version`, such as 2024-10-21):
`<base_url>/openai/deployments/<deployment>/chat/completions?api-version=...`. `base_url` is the resource
(https://NAME.openai.azure.com or https://NAME.services.ai.azure.com), with or without `/openai/v1`. The key goes into
`api-key`. The Responses API is part of v1 only. Neither shape lists deployments (`/models` answers what could be
deployed), so the settings must name the models. A stream may begin with a chunk without choices; refused content is a
400 `content_filter`. Usage in classic streams needs an `api_version` of 2024-09-01-preview or later. Images and sound
stand beside chat in both shapes; variations of images, moderations and reranking there are none.

Sources: learn.microsoft.com (API version lifecycle, REST reference), the openai package 3.52.0 (AzureOpenAI, and the
endpoints that it puts below a deployment). Checked: 2026-11-21. Not confirmed: `include_obfuscation` on v1, which is
therefore not sent.
"""

from typing import Final
from urllib.parse import quote

from posthouse.providers.model import Endpoint, Provider, ProviderAccount


def _locate(account: ProviderAccount, endpoint: Endpoint, upstream_model: str) -> str | None:
    path = account.row.path_of(endpoint)
    if path is None:
        return None
    resource = account.base_url.rstrip("/").removesuffix("/openai/v1").removesuffix("/openai")
    version = account.api_version
    if version is None:
        return f"{resource}/openai/v1{path}"
    if version in ("v1", "latest", "preview"):
        return f"{resource}/openai/v1{path}?api-version={version}"
    if endpoint == "responses":
        return None
    return f"{resource}/openai/deployments/{quote(upstream_model, safe='')}{path}?api-version={quote(version, safe='')}"


ROW: Final = Provider(
    name="azure",
    title="Azure OpenAI",
    docs="https://learn.microsoft.com/azure/ai-foundry/openai/",
    checked="2026-11-21",
    auth="api-key",
    env=("AZURE_OPENAI_API_KEY",),
    wires=("chat.completions", "responses", "completions"),
    base_url_env="AZURE_OPENAI_ENDPOINT",
    aliases=("azure-openai", "foundry"),
    customs=("chat.completions", "responses"),
    offers=("images.generations", "images.edits", "audio.speech", "audio.transcriptions", "audio.translations"),
    paths={"models": None},
    locate=_locate,
    codes={"operationnotsupported": "not_found"},
    price_provider="azure",
)

"""Azure OpenAI and Microsoft Foundry, both shapes.

v1 (no `api_version` in the settings): `<base_url>/openai/v1/chat/completions`, the model being the deployment's name.
Classic (with `api_version`, such as 2024-10-21):
`<base_url>/openai/deployments/<deployment>/chat/completions?api-version=...`. `base_url` is the resource
(https://NAME.openai.azure.com or https://NAME.services.ai.azure.com), with or without `/openai/v1`. The key goes into
`api-key`. The Responses API is part of v1, and of the classic shape from 2025-03-01-preview on, where it stands beside
the deployments (`<base_url>/openai/responses?api-version=...`, the deployment in the body). Neither shape lists
deployments (`/models` answers what could be deployed), so the settings must name the models. A stream may begin with a
chunk without choices; refused content is a 400 `content_filter`. Usage in classic streams needs an `api_version` of
2024-09-01-preview or later. Images and sound stand beside chat in both shapes; variations of images, moderations and
reranking there are none.

Deployments have names of their customer's making, so what is known of their models (see `gpt`) holds where a name tells
the model: the deployment's name, else the one that the operator has given the model here. `team-gpt-5.4-eu` tells it,
and so do `gpt-4o` and `o3-mini`; `assistant`, `gpt54` and `gpt-54` do not: nothing is believed of those, and their
requests go as they are. Function tools go over responses whatever the effort: some models refuse them here with `none`
too.

Sources: learn.microsoft.com (API version lifecycle, REST reference), the openai package 3.52.0 (AzureOpenAI, and the
endpoints that it puts below a deployment), Aider-AI/aider#4029 and openai/codex#1321 (responses in the classic shape),
can1357/oh-my-pi#11052 and agentgateway/agentgateway#2894 (function tools). Checked: 2026-11-21. Not confirmed:
`include_obfuscation` on v1, which is therefore not sent.
"""

import re
from typing import Final
from urllib.parse import quote

from posthouse.core.requests import Operation
from posthouse.providers import gpt
from posthouse.providers.model import Detour, Endpoint, Provider, ProviderAccount

_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_FIRST_RESPONSES: Final = "2025-03-01"
# Versions with their dot: `gpt-41` may be 4.1, and `gpt-54` is no version that there is. 3.5 has always been 35 here.
_MODEL: Final = re.compile(r"(?:^|[^a-z0-9])((?:chatgpt-4o|gpt-35-|gpt-\d(?!\d)|o[134](?![a-z0-9])).*)")
_DETOUR: Final = Detour("responses", gpt.uses_functions)


def _named(name: str) -> str | None:
    found = _MODEL.search(name.lower())
    return None if found is None else found[1]


def _detour(wire: Operation, model: str) -> Detour | None:
    return _DETOUR if gpt.refuses_functions(wire, model) else None


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
        if _DATED.fullmatch(version) is None or version < _FIRST_RESPONSES:
            return None
        return f"{resource}/openai{path}?api-version={version}"
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
    thoughts=None,
    customs=("chat.completions", "responses"),
    offers=("images.generations", "images.edits", "audio.speech", "audio.transcriptions", "audio.translations"),
    paths={"models": None},
    locate=_locate,
    named=_named,
    detour=_detour,
    fit=gpt.fit,
    refuses=gpt.refuses,
    codes={"operationnotsupported": "not_found"},
    price_provider="azure",
)

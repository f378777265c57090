"""Where the clients are: the settings of the Posthouse that they reach, their places, and what is in their
environment."""

import os
from pathlib import Path
from typing import Any, Final

from peers.house import House
from peers.roster import Client
from peers.scripted.model import CREDENTIAL

DIRECT: Final = "direct"
# What a client's process says that wanted to speak to another machine.
REACHED: Final = "reaches out to"
# What each wire's provider is to Posthouse. Two accounts of each: one plays all, the other is where things fail.
PROVIDERS: Final = {
    "chat.completions": ("openai-compatible", "/v1", ""),
    "responses": ("openai", "/v1", 'wires = ["responses"]'),
    "messages": ("anthropic", "", ""),
    "generate_content": ("gemini", "/v1beta", ""),
    "completions": ("openai-compatible", "/v1", 'wires = ["completions"]'),
}
SETTINGS: Final = """
[server]
heartbeat = 0.5

[routing]
backoff_base = 0.01
backoff_max = 0.02
cooldown = 0
"""
PROVIDER: Final = """
[[providers]]
name = "{name}"
type = "{type}"
base_url = "{url}"
credential = "{credential}"
models = [{models}]
{more}
"""


def settings(url: str) -> str:
    """Its whole posthouse.toml, in front of the upstream at `url`."""
    text = SETTINGS
    for wire, (kind, path, more) in PROVIDERS.items():
        for name in (wire, f"{wire}-trouble"):
            models = f'{{ name = "{name}", upstream = "scripted-model" }}'
            if name in ("chat.completions", "generate_content"):
                models += f', {{ name = "{name}-vectors", upstream = "scripted-vectors" }}'
            text += PROVIDER.format(
                name=name, type=kind, url=url + path, credential=CREDENTIAL, models=models, more=more
            )
    return text


def places(client: Client, posthouse: House, upstream: str) -> list[dict[str, Any]]:
    """The upstream at the address `upstream` itself, then Posthouse in front of each wire."""
    own = {"upstream": upstream, "native": True, "near": True}
    scripted = {"model": "scripted-model", "trouble": "scripted-model", "vectors": "scripted-vectors"}
    found: list[dict[str, Any]] = [{"wire": DIRECT, "root": upstream, "key": CREDENTIAL, **scripted, **own}]
    for number, wire in enumerate(client.wires):
        vectors = f"{'generate_content' if wire == 'generate_content' else 'chat.completions'}-vectors"
        names = {"wire": wire, "model": wire, "trouble": f"{wire}-trouble", "vectors": vectors}
        where = {"root": posthouse.url, "key": posthouse.key, "upstream": upstream}
        found.append({**names, **where, "native": number == 0, "near": number <= 1})
    return found


def environ(folder: Path, places: str) -> dict[str, str]:
    """Nothing of ours, so that no client finds a key, a proxy or a configuration of the machine's; nothing that calls
    home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(folder),
        "NO_PROXY": "*",
        "PYTHONWARNINGS": "ignore",
        "DO_NOT_TRACK": "1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "PEER_PLACES": places,
    }

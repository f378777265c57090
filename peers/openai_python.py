"""The part of openai-python's own tests that is about our routes."""

import re
from pathlib import Path
from typing import Final

from peers import upstream
from peers.environment import Environment
from peers.suite import CREDENTIAL, Suite, compare

SUITE: Final = Suite(
    title="openai-python",
    package="openai",
    # Stored completions (retrieve, list, ...) are not ours yet.
    parts=(
        ("chat/test_completions.py test_embeddings.py test_models.py", "create or (Models and (list or retrieve))"),
    ),
    key_line='api_key = "My API Key"',
    base="/v1",
    # They fail against OpenAI's own answers too: the SDK asks for base64 by itself, and its strict validation, which
    # only its tests switch on, wants the floats that it decodes afterwards.
    not_theirs=re.compile(r"test_embeddings.*\[(strict|aiohttp)\]$"),
)
SETTINGS: Final = """
[[providers]]
name = "strict"
type = "openai-compatible"
base_url = "{url}"
credential = "{credential}"
models = ["{chat}", "{vectors}"]
"""


def run(environment: Environment, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was."""
    with upstream.running() as strict:
        names = {"chat": upstream.CHAT_MODEL, "vectors": upstream.EMBEDDING_MODEL}
        settings = SETTINGS.format(url=strict.url, credential=CREDENTIAL, **names)
        return compare(SUITE, environment, strict, settings, folder)

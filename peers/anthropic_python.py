"""The part of anthropic-sdk-python's own tests that is about our routes.

Its source distribution has no OpenAPI document that a mock could be made of, as openai's tests want one too; the
scripted upstream stands in its place. It refuses what the API would, and its answers pass the strict validation that
the tests switch on.
"""

import json
import re
from pathlib import Path
from typing import Final

from peers.environment import Environment
from peers.scripted import server
from peers.suite import CREDENTIAL, Suite, compare

SUITE: Final = Suite(
    title="anthropic-sdk-python",
    package="anthropic",
    parts=(("test_messages.py test_models.py beta/test_messages.py beta/test_models.py", ""),),
    key_line='api_key = "my-anthropic-api-key"',
    base="",
    # Posthouse counts by itself.
    ours=frozenset({"/v1/messages/count_tokens"}),
)
# What the tests ask for; the last two are marks of a place in the list, which must be models for that.
MODELS: Final = ("claude-opus-5-5", "model_id", "after_id", "before_id")
DEPRECATED: Final = re.compile(r"^DEPRECATED_MODELS = \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
SETTINGS: Final = """
[[providers]]
name = "strict"
type = "anthropic"
base_url = "{url}"
credential = "{credential}"
models = {models}
"""


def run(environment: Environment, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was."""
    module = environment.source("anthropic") / "src" / "anthropic" / "resources" / "messages" / "messages.py"
    deprecated = DEPRECATED.search(module.read_text())
    names = (*MODELS, *re.findall(r'^ +"([^"]+)":', deprecated[1], re.MULTILINE)) if deprecated else MODELS
    with server.running(names) as strict:
        settings = SETTINGS.format(url=strict.url, credential=CREDENTIAL, models=json.dumps(names))
        return compare(SUITE, environment, strict, settings, folder)

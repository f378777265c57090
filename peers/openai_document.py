"""openai-python's own tests of every route that Posthouse has, in front of a strict mock of OpenAI's document."""

import json
import os
import re
from pathlib import Path
from typing import Final

from peers import document
from peers.environment import Environment, PeerError
from peers.node import prepare_node
from peers.suite import CREDENTIAL, Loss, Suite, compare

FILES: Final = (
    "chat/test_completions.py",
    "test_completions.py",
    "test_responses.py",
    "responses/test_input_tokens.py",
    "test_embeddings.py",
    "test_images.py",
    # Not audio/test_speech.py: its tests answer themselves, within the client, and ask nobody.
    "audio/test_transcriptions.py",
    "audio/test_translations.py",
    "test_moderations.py",
    "test_models.py",
)
# Of models, what does not belong to an organisation's own; the rest of the others is about what is stored.
WANTED: Final = "create or generate or edit or count or (Models and (list or retrieve))"
ANY: Final = r"::test_(method|raw_response|streaming_response)"
LOSSES: Final = (
    Loss(
        tests=re.compile(rf"test_responses\.\w+{ANY}_create_overload_[12]\["),
        says="you must provide a model parameter",
        reason="a response without a model is one whose stored prompt names it, and no prompts are kept here",
    ),
    Loss(
        tests=re.compile(rf"test_input_tokens\.\w+{ANY}_count\["),
        says="you must provide a model parameter",
        reason="tokens are counted here by the model's own count, and a stored prompt's model is not known",
    ),
    Loss(
        tests=re.compile(r"(test_responses.*_create|test_input_tokens.*_count)_with_all_params"),
        says="'previous_response_id' is not supported",
        reason="no responses are kept here that a conversation could go on from (docs/dialects.md)",
    ),
    Loss(
        tests=re.compile(r"test_embeddings\.\w+::.*\[(strict|aiohttp)\]$"),
        says="Data returned by API invalid for expected schema",
        reason="the SDK asks for base64 by itself; the mock sends numbers all the same, and Posthouse base64, as "
        "OpenAI does, which the strict validation that only the SDK's tests switch on does not take",
    ),
)
# The document's own defaults.
USUAL: Final = {
    "/images/generations": "dall-e-2",
    "/images/edits": "gpt-image-1.5",
    "/images/variations": "dall-e-2",
    "/moderations": "omni-moderation-latest",
}
SUITE: Final = Suite(
    title="openai-python on OpenAI's document",
    package="openai",
    parts=((" ".join(FILES), WANTED),),
    key_line='api_key = "My API Key"',
    base="/v1",
    losses=LOSSES,
    usual=USUAL,
)
NAMED: Final = re.compile(r'\bmodel="([^"]+)"|\.models\.(?:with_\w+\.)*retrieve\(\s*"([^"]+)"')
SETTINGS: Final = """
[routing]
backoff_base = 0.01
backoff_max = 0.02
cooldown = 0

[[providers]]
name = "strict"
type = "openai-compatible"
base_url = "{url}"
credential = "{credential}"
wires = ["responses", "chat.completions", "completions"]
models = {models}
"""


def run(environment: Environment, folder: Path) -> list[str]:
    """What was lost, in words; empty where nothing was."""
    found = document.place()
    if found is None:
        print(f"{SUITE.title}: left out: there is no {document.USUAL}; {document.VARIABLE} names another", flush=True)
        return []
    try:
        node = prepare_node(environment.folder / "bin" / "uv")
    except PeerError as error:
        print(f"{SUITE.title}: skipped: {error}", flush=True)
        return [str(error)] if os.environ.get("CI") == "true" else []
    tests = environment.source("openai") / "tests" / "api_resources"
    texts = [(tests / path).read_text() for path in FILES]
    models = sorted(
        {*USUAL.values(), *(name for text in texts for match in NAMED.findall(text) for name in match if name)}
    )
    with document.running(found, node, folder) as mock:
        settings = SETTINGS.format(url=mock.url, credential=CREDENTIAL, models=json.dumps(models))
        return compare(SUITE, environment, mock, settings, folder)

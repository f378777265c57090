"""Pictures asked for without a model: the one that OpenAI's API takes by itself, where the house has it under that
name."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import answers
from tests.e2e.form_routes import BOUNDARY, PICTURE, File, form, sent
from tests.e2e.house import ADMIN_KEY, Place, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response

FILES: Final = [File("image", "a.png", PICTURE)]
EDIT: Final = {"prompt": "two cats", "images": [{"image_url": "data:image/png;base64,aGk="}]}
# How it is asked for: path, body without a model (JSON or a form); and the model that is taken.
WAYS: Final[dict[str, tuple[str, bytes, str]]] = {
    "generation": ("/v1/images/generations", b'{"prompt":"two cats"}', "dall-e-2"),
    "null": ("/v1/images/generations", b'{"model":null,"prompt":"two cats"}', "dall-e-2"),
    "edit": ("/v1/images/edits", form([("prompt", "two cats")], FILES), "gpt-image-1.5"),
    "edit, as JSON": ("/v1/images/edits", json.dumps(EDIT).encode(), "gpt-image-1.5"),
    "variation": ("/v1/images/variations", form([], FILES), "dall-e-2"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        upstream.scripts = {"*": answers({"created": 1, "data": [{"b64_json": "aGk="}]})}
        config = provider(upstream.base_url, '"dall-e-2", "gpt-image-1.5", "another-image"')
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


@pytest.fixture(autouse=True)
def _fresh(here: Place) -> None:
    here.upstream.forget()


def ask(here: Place, way: str, key: str = ADMIN_KEY) -> Response:
    path, body, _ = WAYS[way]
    with here.house.wire() as wire:
        if body.startswith(b"{"):
            return wire.ask(path, body, key)
        wire.send(sent(path, body, key))
        return wire.response()


@pytest.mark.req("MEDIA-024")
@pytest.mark.parametrize("way", WAYS)
def test_pictures_without_a_model_are_made_by_the_usual_one(here: Place, way: str) -> None:
    _, body, usual = WAYS[way]
    answer = ask(here, way)
    assert answer.status == 200
    asked = here.upstream.visit().body
    if body.startswith(b"{"):
        told: dict[str, Any] = json.loads(asked)
        assert told == {**json.loads(body), "model": usual}
    else:
        assert asked == form([("model", usual)], []).removesuffix(f"--{BOUNDARY}--\r\n".encode()) + body
    assert here.house.stored(answer.headers["x-request-id"]).record["model"] == usual


@pytest.mark.req("MEDIA-024")
@pytest.mark.parametrize("way", WAYS)
def test_no_other_model_is_taken_in_its_stead(here: Place, way: str) -> None:
    answer = ask(here, way, here.house.new_key(models=["another-image"]))
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert WAYS[way][2] in answer.error["message"]
    assert here.upstream.visits == []

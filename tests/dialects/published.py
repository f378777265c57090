"""What others publish of OpenAI's API, as judges over what we write: the OpenAPI document, and the SDK's types.

The document is looked for beside the repository; `POSTHOUSE_SPEC` names another place.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

_BESIDE: Final = Path(__file__).parents[2].parent / "shared" / "spec" / "openai-openapi.json"
_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)


def parse_response(body: bytes) -> Response:
    """A Response by the SDK's types, strictly."""
    return Response.model_validate_json(body, strict=True)


def parse_event(data: bytes) -> Any:
    """An event of a Responses stream by the SDK's types, strictly."""
    return _EVENT.validate_json(data, strict=True)


@cache
def _document() -> dict[str, Any]:
    path = Path(os.environ.get("POSTHOUSE_SPEC", _BESIDE))
    if not path.is_file():
        pytest.skip(f"no OpenAPI document at {path} (POSTHOUSE_SPEC names another place)")
    document: dict[str, Any] = _loosened(json.loads(path.read_text("utf-8")))
    return document


def _loosened(schema: Any) -> Any:
    """`oneOf` read as `anyOf`: many of the document's alternatives overlap, so that it approves of nothing."""
    if isinstance(schema, dict):
        return {"anyOf" if name == "oneOf" else name: _loosened(value) for name, value in schema.items()}
    return [_loosened(value) for value in schema] if isinstance(schema, list) else schema


@cache
def _validator(schema: str) -> Draft202012Validator:
    components = _document()["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components})


def approve(value: Any, schema: str) -> None:
    """Fails where the published schema of this name says something else."""
    errors = [f"{error.json_path}: {error.message}" for error in _validator(schema).iter_errors(value)]
    assert errors == [], value

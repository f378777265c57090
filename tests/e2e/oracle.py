"""OpenAI's published schemas as oracle over what the house really answers.

The document is looked for beside the repository; `POSTHOUSE_SPEC` names another place. It is stricter than practice
where an absent member stands as null; nothing makes use of that.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

_BESIDE: Final = Path(__file__).parents[2].parent / "shared" / "spec" / "openai-openapi.json"


class Oracle:
    """Says whether a value is what a schema of OpenAI's document says."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = document["components"]
        self._validators: dict[str, Draft202012Validator] = {}

    def approves(self, value: Any, schema: str) -> None:
        if schema not in self._validators:
            whole = {"$ref": f"#/components/schemas/{schema}", "components": self._components}
            self._validators[schema] = Draft202012Validator(whole)
        errors = [f"{error.json_path}: {error.message}" for error in self._validators[schema].iter_errors(value)]
        assert errors == [], value


def published() -> Oracle:
    """Skips the test where there is no document."""
    path = Path(os.environ.get("POSTHOUSE_SPEC", _BESIDE))
    if not path.is_file():
        pytest.skip(f"no OpenAPI document at {path} (POSTHOUSE_SPEC names another place)")
    return Oracle(json.loads(path.read_text("utf-8")))

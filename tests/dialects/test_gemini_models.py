"""gemini's list of models."""

import json

import pytest

from posthouse.dialects.gemini import EMBEDS, GeminiModel, encode_model, encode_models


@pytest.mark.req("GEM-MODEL-001")
def test_a_model_is_shown_by_its_path_and_its_methods() -> None:
    assert json.loads(encode_model(GeminiModel("vendor/m", title="M", input_limit=10, output_limit=5))) == {
        "name": "models/vendor/m",
        "baseModelId": "vendor/m",
        "version": "001",
        "displayName": "M",
        "inputTokenLimit": 10,
        "outputTokenLimit": 5,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


@pytest.mark.req("GEM-MODEL-001")
def test_models_are_listed_in_one_page() -> None:
    listed = json.loads(encode_models([GeminiModel("a"), GeminiModel("b", EMBEDS)]))
    assert listed.keys() == {"models"}
    assert [(one["name"], one["displayName"], one["supportedGenerationMethods"][0]) for one in listed["models"]] == [
        ("models/a", "a", "generateContent"),
        ("models/b", "b", "embedContent"),
    ]

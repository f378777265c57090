"""Parameters that are set where a request of gemini lacks them: where each has its place, and by which name.

They may be said in the words of any dialect, or in this one's own: `{"max_tokens": 100, "topK": 5}` and
`{"generationConfig": {"maxOutputTokens": 100, "topK": 5}}` are the same. Words that have no place here are not set: a
body with a member that is unknown is refused.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from posthouse.dialects.fields import Fields, decode_fields, kind_of
from posthouse.dialects.gemini_fields import NULL, camel

_CONFIG: Final = "generationConfig"
_TOP: Final = frozenset({"safetySettings", "toolConfig", "systemInstruction", "cachedContent", "labels"})
# Members of generationConfig that no other dialect has by this name.
_OWN: Final = frozenset(
    {
        "candidateCount",
        "enableEnhancedCivicAnswers",
        "frequencyPenalty",
        "imageConfig",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "speechConfig",
        "stopSequences",
        "thinkingConfig",
        "topK",
        "topP",
    }
)
# What other dialects say of the same things.
_SAME: Final = {
    "frequency_penalty": "frequencyPenalty",
    "max_completion_tokens": "maxOutputTokens",
    "max_output_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "stop": "stopSequences",
    "stop_sequences": "stopSequences",
    "temperature": "temperature",
    "top_k": "topK",
    "top_p": "topP",
}
_encode: Final = msgspec.json.Encoder().encode


def is_own(name: str) -> bool:
    """Whether this is a word of this dialect and of no other."""
    return name in _OWN or camel(name) in _TOP or camel(name) == _CONFIG


def with_defaults(fields: Fields, defaults: Mapping[str, Raw]) -> Fields:
    """The members of a request, with those that it lacks; the same object where it lacks none. What the client said,
    null too, stands."""
    said = {camel(name) for name in fields}
    top = {name: raw for name, raw in defaults.items() if camel(name) in _TOP and camel(name) not in said}
    place = next((name for name in (_CONFIG, "generation_config") if fields.get(name, NULL) != NULL), _CONFIG)
    given = fields.get(place, NULL)
    config = {} if given == NULL else decode_fields(bytes(given))
    said = {camel(name) for name in config}
    lacking = {name: raw for name, raw in _parameters(defaults).items() if name not in said}
    if lacking:
        top[place] = Raw(_encode(config | lacking))
    return fields | top if top else fields


def _parameters(defaults: Mapping[str, Raw]) -> Fields:
    """Members of generationConfig; what is said in this dialect's own words goes before what is said in others'."""
    found: Fields = {}
    for name, raw in defaults.items():
        if name in _SAME:
            found.setdefault(_SAME[name], _listed(raw) if name == "stop" else raw)
    found |= {name: raw for name, raw in defaults.items() if name in _OWN}
    for name, raw in defaults.items():
        if camel(name) == _CONFIG and kind_of(raw) == "an object":
            found |= {camel(inner): value for inner, value in decode_fields(bytes(raw)).items()}
    return found


def _listed(raw: Raw) -> Raw:
    return Raw(b"[%b]" % bytes(raw)) if kind_of(raw) == "a string" else raw

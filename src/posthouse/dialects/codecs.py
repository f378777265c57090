"""The codecs that there are, each by the operation whose requests are in its dialect; and what a request that passes to
a provider of its own dialect must not take along."""

from collections.abc import Callable, Mapping
from typing import Final

from posthouse.core.requests import Operation
from posthouse.dialects import anthropic_messages, gemini, openai_chat, openai_completions, openai_responses
from posthouse.dialects.codec import Codec, Maker
from posthouse.dialects.fields import Fields

# Makes the members of a request, which it may change, what goes to this maker.
Own = Callable[[Fields, Maker], None]

CODECS: Final[Mapping[Operation, Codec]] = {
    "chat.completions": openai_chat.CODEC,
    "responses": openai_responses.CODEC,
    "messages": anthropic_messages.CODEC,
    "generate_content": gemini.CODEC,
    "completions": openai_completions.CODEC,
}


def _own_chat(fields: Fields, maker: Maker) -> None:
    """No provider of this dialect makes state that we seal."""
    if (raw := fields.get("messages")) is not None:
        fields["messages"] = openai_chat.own_messages(raw)


def _own_responses(fields: Fields, maker: Maker) -> None:
    if (raw := fields.get("input")) is not None:
        fields["input"] = openai_responses.own_input(raw, maker)


def _own_gemini(fields: Fields, maker: Maker) -> None:
    if (raw := fields.get("contents")) is not None:
        fields["contents"] = gemini.own_contents(raw, maker)


# How a request that may hold state which was sealed here becomes one that its maker, and no other, can read.
OWN: Final[Mapping[Operation, Own]] = {
    "chat.completions": _own_chat,
    "responses": _own_responses,
    "messages": anthropic_messages.own_fields,
    "generate_content": _own_gemini,
}


# What every request over a wire must say in its head, as far as nobody else says it.
HEADERS: Final[Mapping[Operation, tuple[tuple[str, str], ...]]] = {"messages": (("anthropic-version", "2023-06-01"),)}


def codec_of(operation: Operation) -> Codec:
    """Of one of `core.requests.TEXTS`."""
    return CODECS[operation]

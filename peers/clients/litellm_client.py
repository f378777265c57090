"""litellm as a client, by the name of the face that it speaks to: chat, anthropic or gemini."""

import json
import sys
from typing import Any, Final

import litellm
import openai
import pydantic

from peers.clients.checking import (
    PNG,
    PNG_SEEN,
    TIMEOUT,
    Check,
    Here,
    able,
    awaited,
    near,
    raises,
    run,
    same,
    through,
)

FACE: Final = sys.argv[1]
TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# What stands before the model's name, and what is added to the root.
FACES: Final = {"chat": ("openai", "/v1"), "anthropic": ("anthropic", ""), "gemini": ("gemini", "/v1beta")}


class Person(pydantic.BaseModel):
    name: str
    age: int


def asking(here: Here, scene: str, mark: str = "", model: str = "", **more: Any) -> dict[str, Any]:
    prefix, path = FACES[FACE]
    said = [{"role": "user", "content": f"[{scene}:{mark or here.mark()}] Please."}]
    usual = {"api_base": here.root + path, "api_key": here.key, "num_retries": 0, "max_retries": 0, "timeout": TIMEOUT}
    return {"model": f"{prefix}/{model or here.model}", "messages": said, **usual, **more}


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def complete(here: Here) -> None:
    answer = litellm.completion(**asking(here, "hello"))
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), ("Hello there", "stop"))
    same((answer.usage.prompt_tokens, answer.usage.completion_tokens), (20, 7))


def stream(here: Here) -> None:
    mark = here.mark()
    said, usages = [], []
    for chunk in litellm.completion(**asking(here, "gated", mark), stream=True, stream_options={"include_usage": True}):
        if text := text_of([chunk]):
            said.append(text)
            here.open(mark)
        usages.append(getattr(chunk, "usage", None))
    same("".join(said), "One two")
    same([usage.completion_tokens for usage in usages if usage][-1:], [7])


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        answer = await litellm.acompletion(**asking(here, "hello"))
        chunks = [chunk async for chunk in await litellm.acompletion(**asking(here, "hello"), stream=True)]
        return str(answer.choices[0].message.content), text_of(chunks)

    same(awaited(both()), ("Hello there", "Hello there"))


def _round_trip(here: Here, asked: dict[str, Any], message: Any) -> None:
    calls = message.tool_calls
    same([json.loads(call.function.arguments) for call in calls], [{"city": "Paris"}, {"city": "Rome"}])
    results = [
        {"role": "tool", "tool_call_id": c.id, "name": "weather", "content": f"{n}"} for n, c in enumerate(calls)
    ]
    asked["messages"] = [*asked["messages"], message.model_dump(exclude_none=True), *results]
    answer = litellm.completion(**asked).choices[0].message.content
    assert answer.startswith("It is: ") and answer.index("0") < answer.index("1"), answer


def tools(here: Here) -> None:
    asked = asking(here, "tools", tools=[TOOL])
    choice = litellm.completion(**asked).choices[0]
    same(choice.finish_reason, "tool_calls")
    _round_trip(here, asked, choice.message)


def tools_streamed(here: Here) -> None:
    asked = asking(here, "tools", tools=[TOOL])
    chunks = list(litellm.completion(**asked, stream=True))
    whole = litellm.stream_chunk_builder(chunks, messages=asked["messages"])
    _round_trip(here, asked, whole.choices[0].message)


def structured(here: Here) -> None:
    answer = litellm.completion(**asking(here, "schema"), response_format=Person)
    same(Person.model_validate_json(answer.choices[0].message.content), Person(name="Ada", age=36))


def picture(here: Here) -> None:
    asked = asking(here, "picture")
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    asked["messages"][0]["content"] = [{"type": "text", "text": asked["messages"][0]["content"]}, image]
    answer = litellm.completion(**asked).choices[0].message.content
    assert answer.startswith(f"I see {PNG_SEEN}"), answer


def thinking(here: Here) -> None:
    """Its own form of thoughts, `thinking_blocks`, comes back with their state."""
    mark = here.mark()
    budget = {"type": "enabled", "budget_tokens": 1024}
    asked = asking(here, "think", mark, thinking=budget, max_tokens=4096, allowed_openai_params=["thinking"])
    message = litellm.completion(**asked).choices[0].message
    same((message.content, message.reasoning_content), ("Forty-two.", "I should think."))
    asked["messages"] += [message.model_dump(exclude_none=True), *asking(here, "recall")["messages"]]
    said = litellm.completion(**asked).choices[0].message.content
    same(said, f"States: {'none' if here.wire == 'chat.completions' else mark}")


def errors(here: Here) -> None:
    unknown = asking(here, "hello", api_key="sk-nobody")
    raises(litellm.AuthenticationError, lambda: litellm.completion(**unknown))
    missing = asking(here, "hello", model="missing-model")
    raises(litellm.NotFoundError, lambda: litellm.completion(**missing))
    limited = asking(here, "fail-429", model=here.trouble)
    raises(litellm.RateLimitError, lambda: litellm.completion(**limited))
    refused = asking(here, "fail-400", model=here.trouble)
    raises(litellm.BadRequestError, lambda: litellm.completion(**refused))


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    for scene in ("break", "fault"):
        mark = here.mark()
        asked = asking(here, scene, mark, here.trouble)
        said: list[str] = []

        def read(mark: str = mark, asked: dict[str, Any] = asked, said: list[str] = said) -> None:
            for chunk in litellm.completion(**asked, stream=True):
                if text := text_of([chunk]):
                    said.append(text)
                    here.open(mark)

        raises(openai.OpenAIError, read)
        same("".join(said), "One")


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    same(text_of(litellm.completion(**asking(here, "slow"), stream=True)), "One two")


def _where(here: Here) -> dict[str, Any]:
    return {"api_base": f"{here.root}/v1", "api_key": here.key, "num_retries": 0, "timeout": TIMEOUT}


def embeddings(here: Here) -> None:
    answer = litellm.embedding(model=f"openai/{here.vectors}", input=["four"], encoding_format="float", **_where(here))
    same(answer.data[0]["embedding"], [4.0, -0.5])


def prompts(here: Here) -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{here.model}", prompt=f"[hello:{here.mark()}]", **_where(here)
    )
    same(answer.choices[0].text, "Hello there")


def responses(here: Here) -> None:
    answer = litellm.responses(
        model=f"openai/{here.model}", input=f"[hello:{here.mark()}]", store=False, **_where(here)
    )
    same("".join(part.text for item in answer.output if item.type == "message" for part in item.content), "Hello there")


OWN: Final[dict[str, tuple[Any, ...]]] = {
    "chat": (embeddings, prompts, able(structured), able(responses)),
    "anthropic": (structured, thinking),
    "gemini": (),  # it asks models that it does not know for JSON in words
}
CHECKS: Final[tuple[Any | Check, ...]] = (
    complete,
    stream,
    asynchronous,
    able(tools),
    able(tools_streamed),
    able(picture),
    errors,
    through(broken_stream),
    near(slow),
    *OWN[FACE],
)

if __name__ == "__main__":
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    run("litellm", CHECKS)

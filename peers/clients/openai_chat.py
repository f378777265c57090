"""openai from 1 on: chat.completions, embeddings, models; and the older completions."""

import functools
from typing import Any, Final

import openai
import pydantic
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from peers.clients.checking import PERSON, PNG, PNG_SEEN, TIMEOUT, Here, able, awaited, near, raises, run, same, through

# Providers that tell a client of chat.completions what they think, without being asked to show it.
SHOWN: Final = ("direct", "chat.completions", "messages")
TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(pydantic.BaseModel):
    name: str
    age: int


@functools.cache
def client(here: Here, key: str | None = None) -> OpenAI:
    return OpenAI(api_key=key or here.key, base_url=f"{here.root}/v1", max_retries=0, timeout=TIMEOUT)


def asking(here: Here, scene: str, mark: str, **more: Any) -> dict[str, Any]:
    """The arguments of a call whose user asks for a scene."""
    return {"model": here.model, "messages": [{"role": "user", "content": f"[{scene}:{mark}] Please."}], **more}


def chat(here: Here) -> Any:
    return client(here).chat.completions


def complete(here: Here) -> None:
    answer = chat(here).create(**asking(here, "hello", here.mark()))
    choice = answer.choices[0]
    same((choice.message.role, choice.message.content, choice.finish_reason), ("assistant", "Hello there", "stop"))
    same(choice.message.tool_calls, None)
    usage = answer.usage
    same((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (20, 7, 27))
    same(usage.prompt_tokens_details.cached_tokens, 4)


def stream(here: Here) -> None:
    mark = here.mark()
    asked = asking(here, "gated", mark, stream=True, stream_options={"include_usage": True})
    said, reasons, usages = [], [], []
    for chunk in chat(here).create(**asked):
        for choice in chunk.choices:
            if choice.delta.content:
                said.append(choice.delta.content)
                here.open(mark)
            reasons.append(choice.finish_reason)
        usages.append(chunk.usage)
    same(said, ["One", " two"])
    same([reason for reason in reasons if reason], ["stop"])
    same([usage.completion_tokens for usage in usages if usage], [7])


def stream_without_usage(here: Here) -> None:
    """Nobody asked for a usage, so there is none, and no chunk without choices."""
    chunks = list(chat(here).create(**asking(here, "hello", here.mark(), stream=True)))
    same([chunk.usage for chunk in chunks if chunk.usage], [])
    assert all(chunk.choices for chunk in chunks), chunks


def stream_helper(here: Here) -> None:
    with chat(here).stream(**asking(here, "hello", here.mark())) as events:
        deltas = [event.delta for event in events if event.type == "content.delta" and event.delta]
        same(deltas, ["Hel", "lo ", "there"])
        same(events.get_final_completion().choices[0].message.content, "Hello there")


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        async with AsyncOpenAI(api_key=here.key, base_url=f"{here.root}/v1", max_retries=0, timeout=TIMEOUT) as own:
            answer = await own.chat.completions.create(**asking(here, "hello", here.mark()))
            chunks = await own.chat.completions.create(**asking(here, "hello", here.mark(), stream=True))
            said = [choice.delta.content async for chunk in chunks for choice in chunk.choices]
        return answer.choices[0].message.content, "|".join(text for text in said if text)

    same(awaited(both()), ("Hello there", "Hel|lo |there"))


def cut_short(here: Here) -> None:
    same(chat(here).create(**asking(here, "long", here.mark())).choices[0].finish_reason, "length")


def history(here: Here) -> None:
    said = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Good morning."},
        {"role": "assistant", "content": "Morning!"},
        {"role": "user", "content": [{"type": "text", "text": f"[history:{here.mark()}]"}]},
    ]
    words = chat(here).create(model=here.model, messages=said).choices[0].message.content.split("|")
    same(words[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def _round_trip(here: Here, first: Any, asked: dict[str, Any]) -> str:
    """Sends the calls of a message back with their results, and says what the model makes of them."""
    calls = first.tool_calls
    same([call.function.name for call in calls], ["weather", "weather"])
    same([call.function.arguments for call in calls], ['{"city": "Paris"}', '{"city": "Rome"}'])
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"{20 + number} degrees"}
        for number, call in enumerate(calls)
    ]
    said = first if isinstance(first, dict) else first.model_dump(exclude_none=True)
    answer = chat(here).create(**{**asked, "messages": [*asked["messages"], said, *results]})
    same(answer.choices[0].finish_reason, "stop")
    return str(answer.choices[0].message.content)


def _canonical(message: Any) -> Any:
    """Arguments may have been written anew on their way; what they say is what matters."""
    for call in message.tool_calls:
        call.function.arguments = call.function.arguments.replace('":"', '": "')
    return message


def tools(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL])
    choice = chat(here).create(**asked).choices[0]
    same((choice.finish_reason, choice.message.content), ("tool_calls", "Let me look."))
    same(_round_trip(here, _canonical(choice.message), asked), "It is: 20 degrees / 21 degrees")


def tools_streamed(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL], parallel_tool_calls=True)
    with chat(here).stream(**asked) as events:
        kinds = [event.type for event in events]
        message = events.get_final_completion().choices[0].message
    same(kinds.count("tool_calls.function.arguments.done"), 2)
    message.tool_calls = [call.model_copy() for call in message.tool_calls]
    for call in message.tool_calls:
        call.function.__dict__.pop("parsed_arguments", None)
    same(_round_trip(here, _canonical(message), asked), "It is: 20 degrees / 21 degrees")


def parse(here: Here) -> None:
    answer = chat(here).parse(**asking(here, "schema", here.mark()), response_format=Person)
    same(answer.choices[0].message.parsed, Person(**PERSON))


def parse_streamed(here: Here) -> None:
    with chat(here).stream(**asking(here, "schema", here.mark()), response_format=Person) as events:
        same(events.get_final_completion().choices[0].message.parsed, Person(**PERSON))


def parse_tool(here: Here) -> None:
    """A tool made of a class, which the model is forced to use."""
    forced = {"type": "function", "function": {"name": "Person"}}
    tool = openai.pydantic_function_tool(Person)
    answer = chat(here).parse(**asking(here, "schema", here.mark()), tools=[tool], tool_choice=forced)
    same(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Person(**PERSON))


def picture(here: Here) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    content = [image, {"type": "text", "text": f"[picture:{here.mark()}]"}]
    answer = chat(here).create(model=here.model, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content.startswith(f"I see {PNG_SEEN}"), answer


def thinking(here: Here) -> None:
    """Thoughts are members that the SDK does not know, but keeps; their state comes back to the model as it was."""
    mark = here.mark()
    asked = asking(here, "think", mark, reasoning_effort="medium")
    answer = chat(here).create(**asked)
    message = answer.choices[0].message
    same(message.content, "Forty-two.")
    same(answer.usage.completion_tokens, 12)
    if here.wire in SHOWN:
        same(message.reasoning_content, "I should think.")
    again = {"role": "user", "content": f"[recall:{here.mark()}]"}
    asked["messages"] += [message.model_dump(exclude_none=True), again]
    same(chat(here).create(**asked).choices[0].message.content, f"States: {mark}")


def thinking_streamed(here: Here) -> None:
    """The same in a stream with calls, put together by hand, as who keeps unknown members does."""
    mark = here.mark()
    asked = asking(here, "thinktools", mark, tools=[TOOL], reasoning_effort="high")
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [], "reasoning_details": []}
    for chunk in chat(here).create(**asked, stream=True):
        for choice in chunk.choices:
            extra = choice.delta.model_extra or {}
            message["reasoning_details"] += extra.get("reasoning_details") or []
            for call in choice.delta.tool_calls or ():
                if call.id:
                    message["tool_calls"].append(call.model_dump(exclude={"index"}))
                    continue
                message["tool_calls"][call.index]["function"]["arguments"] += call.function.arguments or ""
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "20"} for call in message["tool_calls"]]
    same(len(results), 2)
    asked["messages"] += [message, *results]
    same(chat(here).create(**asked).choices[0].message.content, f"States: {mark}")


def completions(here: Here) -> None:
    """The API of prompts."""
    try:
        answer = client(here).completions.create(model=here.model, prompt=f"[hello:{here.mark()}]", max_tokens=9)
        chunks = client(here).completions.create(model=here.model, prompt=f"[hello:{here.mark()}]", stream=True)
        said = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    except openai.APIStatusError as error:
        raise AssertionError(f"{error.status_code}: {error}") from None
    same((answer.choices[0].text, answer.choices[0].finish_reason), ("Hello there", "stop"))
    same((answer.usage.prompt_tokens, said), (20, "Hello there"))


def azure(here: Here) -> None:
    """Deployments in the path, the key in another header."""
    own = AzureOpenAI(
        azure_endpoint=here.root, api_key=here.key, api_version="2024-10-21", max_retries=0, timeout=TIMEOUT
    )
    answer = own.chat.completions.create(**asking(here, "hello", here.mark()))
    same(answer.choices[0].message.content, "Hello there")
    chunks = own.chat.completions.create(**asking(here, "hello", here.mark(), stream=True))
    same("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), "Hello there")
    same(own.embeddings.create(model=here.vectors, input="four").data[0].embedding, [4.0, -0.5])


def models(here: Here) -> None:
    listed = [model.id for model in client(here).models.list()]
    assert here.model in listed, listed
    same(client(here).models.retrieve(here.model).object, "model")


def embeddings(here: Here) -> None:
    """The SDK asks for base64 by itself."""
    answer = client(here).embeddings.create(model=here.vectors, input=["four", "seventeen"])
    same([one.embedding for one in answer.data], [[4.0, -0.5], [9.0, -0.5]])
    floats = client(here).embeddings.create(model=here.vectors, input="four", encoding_format="float")
    same(floats.data[0].embedding, [4.0, -0.5])


def unknown_key(here: Here) -> None:
    own = client(here, "sk-nobody")
    error = raises(
        openai.AuthenticationError, lambda: own.chat.completions.create(**asking(here, "hello", here.mark()))
    )
    same(error.code, "invalid_api_key")
    raises(openai.AuthenticationError, lambda: own.models.list())


def unknown_model(here: Here) -> None:
    asked = {**asking(here, "hello", here.mark()), "model": "missing-model"}
    same(raises(openai.NotFoundError, lambda: chat(here).create(**asked)).code, "model_not_found")
    raises(openai.NotFoundError, lambda: client(here).models.retrieve("missing-model"))


def bad_request(here: Here) -> None:
    refused = asking(here, "fail-400", here.mark())
    assert "fail-400" in str(raises(openai.BadRequestError, lambda: chat(here).create(**refused)))
    wrong = {**refused, "messages": [*refused["messages"], {"role": "nobody"}]}
    raises(openai.BadRequestError, lambda: chat(here).create(**wrong))


def refusals(here: Here) -> None:
    """What the provider refuses in the end, whole and before a stream begins."""
    kinds = {"fail-429": openai.RateLimitError, "fail-500": openai.InternalServerError}
    for scene, kind in kinds.items():
        for streamed in (False, True):
            asked = {**asking(here, scene, here.mark()), "model": here.trouble, "stream": streamed}
            raises(kind, lambda asked=asked: chat(here).create(**asked))


def own_limit(here: Here) -> None:
    """The limit of a key of Posthouse's: the second call within the minute."""
    own = client(here, here.new_key({"limits": {"rpm": 1}})).chat.completions
    own.create(**asking(here, "hello", here.mark()))
    error = raises(openai.RateLimitError, lambda: own.create(**asking(here, "hello", here.mark())))
    same((error.code, error.type), ("rate_limit_exceeded", "requests"))
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    for scene in ("break", "fault"):
        mark = here.mark()
        asked = {**asking(here, scene, mark), "model": here.trouble}
        said: list[str] = []

        def read(mark: str = mark, asked: dict[str, Any] = asked, said: list[str] = said) -> None:
            for chunk in chat(here).create(**asked, stream=True):
                for choice in chunk.choices:
                    if choice.delta.content:
                        said.append(choice.delta.content)
                        here.open(mark)

        raises(openai.APIError, read)
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    chunks = chat(here).create(**asking(here, "slow", here.mark()), stream=True)
    same("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), "One two")


def leaving(here: Here) -> None:
    """Who leaves a stream stops the provider too."""
    mark = here.mark()
    with chat(here).create(**asking(here, "hang", mark), stream=True) as chunks:
        for chunk in chunks:
            if any(choice.delta.content for choice in chunk.choices):
                break
    assert here.left(mark), "the upstream was not left"


CHECKS: Final = (
    complete,
    stream,
    stream_without_usage,
    stream_helper,
    asynchronous,
    cut_short,
    able(history),
    able(tools),
    able(tools_streamed),
    able(parse),
    able(parse_streamed),
    able(parse_tool),
    able(picture),
    able(thinking),
    able(thinking_streamed),
    completions,
    through(azure),
    models,
    embeddings,
    unknown_key,
    unknown_model,
    bad_request,
    refusals,
    through(own_limit),
    through(broken_stream),
    near(slow),
    leaving,
)

if __name__ == "__main__":
    run("openai", CHECKS)

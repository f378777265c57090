"""anthropic: the Messages API. The same for the versions before 1, which send their key and their version otherwise."""

import functools
from typing import Any, Final

import anthropic
import pydantic
from anthropic import Anthropic, AsyncAnthropic, beta_tool

from peers.clients.checking import PERSON, PNG, PNG_SEEN, TIMEOUT, Here, awaited, near, raises, run, same, through

# Providers of chat.completions have no state of thoughts that could come back through another dialect.
STATELESS: Final = "chat.completions"
TOOL: Final[Any] = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Final[Any] = {"type": "enabled", "budget_tokens": 1024}


class Person(pydantic.BaseModel):
    name: str
    age: int


@functools.cache
def client(here: Here, key: str | None = None) -> Anthropic:
    return Anthropic(api_key=key or here.key, base_url=here.root, max_retries=0, timeout=TIMEOUT)


def asking(here: Here, scene: str, mark: str, **more: Any) -> dict[str, Any]:
    """The arguments of a call whose user asks for a scene."""
    said = {"role": "user", "content": f"[{scene}:{mark}] Please."}
    return {"model": here.model, "max_tokens": 2048, "messages": [said], **more}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def complete(here: Here) -> None:
    message = client(here).messages.create(**asking(here, "hello", here.mark()))
    same((message.role, message.type, message.stop_reason), ("assistant", "message", "end_turn"))
    same(text_of(message), "Hello there")
    usage = message.usage
    same((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (16, 4, 7))


def stream(here: Here) -> None:
    mark = here.mark()
    with client(here).messages.stream(**asking(here, "gated", mark)) as events:
        deltas = events.text_stream
        same(next(deltas), "One")
        here.open(mark)
        same(list(deltas), [" two"])
        message = events.get_final_message()
    same((text_of(message), message.stop_reason), ("One two", "end_turn"))
    same(message.usage.output_tokens, 7)


def stream_of_events(here: Here) -> None:
    events = list(client(here).messages.create(**asking(here, "hello", here.mark()), stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    same(
        kinds[:2] + kinds[-3:],
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"],
    )
    same(kinds.count("content_block_delta"), 3)


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        async with AsyncAnthropic(api_key=here.key, base_url=here.root, max_retries=0, timeout=TIMEOUT) as own:
            message = await own.messages.create(**asking(here, "hello", here.mark()))
            async with own.messages.stream(**asking(here, "hello", here.mark())) as events:
                streamed = [text async for text in events.text_stream]
        return text_of(message), "|".join(streamed)

    same(awaited(both()), ("Hello there", "Hel|lo |there"))


def cut_short(here: Here) -> None:
    same(client(here).messages.create(**asking(here, "long", here.mark())).stop_reason, "max_tokens")


def history(here: Here) -> None:
    said = [
        {"role": "user", "content": "Good morning."},
        {"role": "assistant", "content": [{"type": "text", "text": "Morning!"}]},
        {"role": "user", "content": [{"type": "text", "text": f"[history:{here.mark()}]"}]},
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    message = client(here).messages.create(model=here.model, max_tokens=99, system=system, messages=said)
    words = text_of(message).split("|")
    same(words[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def _answers(message: Any) -> list[dict[str, Any]]:
    """What the user says to the calls of a message: the results, in another order than the calls."""
    calls = [block for block in message.content if block.type == "tool_use"]
    same([call.name for call in calls], ["weather", "weather"])
    same([call.input for call in calls], [{"city": "Paris"}, {"city": "Rome"}])
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{20 + number} in {call.input['city']}"}
        for number, call in enumerate(calls)
    ]
    return results


def _round_trip(here: Here, scene: str, first: Any, asked: dict[str, Any]) -> str:
    same(first.stop_reason, "tool_use")
    asked["messages"] = [
        *asked["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": _answers(first)},
    ]
    last = client(here).messages.create(**asked)
    same(last.stop_reason, "end_turn")
    return text_of(last)


def tools(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL])
    first = client(here).messages.create(**asked)
    same(text_of(first), "Let me look.")
    same(_round_trip(here, "tools", first, asked), "It is: 20 in Paris / 21 in Rome")


def tools_streamed(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL], tool_choice={"type": "auto"})
    with client(here).messages.stream(**asked) as events:
        kinds = [event.type for event in events]
        first = events.get_final_message()
    assert kinds.count("input_json") >= 2, kinds
    same(_round_trip(here, "tools", first, asked), "It is: 20 in Paris / 21 in Rome")


def tool_runner(here: Here) -> None:
    @beta_tool
    def weather(city: str) -> str:
        """The weather.

        Args:
            city: Where.
        """
        return f"sunny in {city}"

    runner = client(here).beta.messages.tool_runner(**asking(here, "tools", here.mark()), tools=[weather])
    same(text_of(runner.until_done()), "It is: sunny in Paris / sunny in Rome")


def parse(here: Here) -> None:
    message = client(here).messages.parse(**asking(here, "schema", here.mark()), output_format=Person)
    same(message.parsed_output, Person(**PERSON))


def parse_streamed(here: Here) -> None:
    with client(here).messages.stream(**asking(here, "schema", here.mark()), output_format=Person) as events:
        same(events.get_final_message().parsed_output, Person(**PERSON))


def picture(here: Here) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "image", "source": source}, {"type": "text", "text": f"[picture:{here.mark()}]"}]
    message = client(here).messages.create(
        model=here.model, max_tokens=99, messages=[{"role": "user", "content": content}]
    )
    assert text_of(message).startswith(f"I see {PNG_SEEN}"), message


def _remembered(here: Here, mark: str) -> str:
    return f"States: {'none' if here.wire == STATELESS else mark}"


def thinking(here: Here) -> None:
    """Thoughts are shown, and their state comes back to the model as it was."""
    mark = here.mark()
    asked = asking(here, "think", mark, thinking=THINKING)
    first = client(here).messages.create(**asked)
    same([block.type for block in first.content], ["thinking", "text"])
    same(first.content[0].thinking, "I should think.")
    assert first.content[0].signature
    same((text_of(first), first.usage.output_tokens), ("Forty-two.", 12))
    asked["messages"] += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": f"[recall:{here.mark()}]"},
    ]
    same(text_of(client(here).messages.create(**asked)), _remembered(here, mark))


def thinking_streamed(here: Here) -> None:
    """The same in a stream, with calls, where the state matters most."""
    mark = here.mark()
    asked = asking(here, "thinktools", mark, tools=[TOOL], thinking=THINKING)
    with client(here).messages.stream(**asked) as events:
        kinds = [event.type for event in events]
        first = events.get_final_message()
    assert kinds.count("thinking") == 2, kinds
    same([block.type for block in first.content], ["thinking", "tool_use", "tool_use"])
    same(_round_trip(here, "thinktools", first, asked), _remembered(here, mark))


def count_tokens(here: Here) -> None:
    said = [{"role": "user", "content": "How many are these?"}]
    counted = client(here).messages.count_tokens(model=here.model, messages=said, system="Count.", tools=[TOOL])
    assert counted.input_tokens > 5, counted


def models(here: Here) -> None:
    listed = [model.id for model in client(here).models.list(limit=3)]
    assert here.model in listed, listed
    same(client(here).models.retrieve(here.model).id, here.model)


def unknown_key(here: Here) -> None:
    error = raises(
        anthropic.AuthenticationError,
        lambda: client(here, "sk-nobody").messages.create(**asking(here, "hello", here.mark())),
    )
    same(error.body["error"]["type"], "authentication_error")


def unknown_model(here: Here) -> None:
    asked = {**asking(here, "hello", here.mark()), "model": "missing-model"}
    raises(anthropic.NotFoundError, lambda: client(here).messages.create(**asked))
    raises(anthropic.NotFoundError, lambda: client(here).models.retrieve("missing-model"))


def bad_request(here: Here) -> None:
    refused = asking(here, "fail-400", here.mark())
    wrong = {**refused, "messages": [{"role": "user"}], "system": refused["messages"][0]["content"]}
    raises(anthropic.BadRequestError, lambda: client(here).messages.create(**wrong))
    error = raises(anthropic.BadRequestError, lambda: client(here).messages.create(**refused))
    assert "fail-400" in str(error), error


def refusals(here: Here) -> None:
    """What the provider refuses in the end, whole and before a stream begins."""
    kinds = {"fail-429": anthropic.RateLimitError, "fail-500": anthropic.InternalServerError}
    for scene, kind in kinds.items():
        for streamed in (False, True):
            asked = {**asking(here, scene, here.mark()), "model": here.trouble, "stream": streamed}
            raises(kind, lambda asked=asked: client(here).messages.create(**asked))


def own_limit(here: Here) -> None:
    """The limit of a key of Posthouse's: the second call within the minute."""
    own = client(here, here.new_key({"limits": {"rpm": 1}}))
    own.messages.create(**asking(here, "hello", here.mark()))
    error = raises(anthropic.RateLimitError, lambda: own.messages.create(**asking(here, "hello", here.mark())))
    same(error.body["error"]["type"], "rate_limit_error")
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    for scene in ("break", "fault"):
        mark = here.mark()
        asked = {**asking(here, scene, mark), "model": here.trouble}
        said: list[str] = []

        def read(mark: str = mark, asked: dict[str, Any] = asked, said: list[str] = said) -> None:
            with client(here).messages.stream(**asked) as events:
                for text in events.text_stream:
                    said.append(text)
                    here.open(mark)

        raises(anthropic.APIStatusError, read)
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    with client(here).messages.stream(**asking(here, "slow", here.mark())) as events:
        same(list(events.text_stream), ["One", " two"])


def leaving(here: Here) -> None:
    """Who leaves a stream stops the provider too."""
    mark = here.mark()
    with client(here).messages.stream(**asking(here, "hang", mark)) as events:
        same(next(events.text_stream), "One")
    assert here.left(mark), "the upstream was not left"


CHECKS: Final = (
    complete,
    stream,
    stream_of_events,
    asynchronous,
    cut_short,
    history,
    tools,
    tools_streamed,
    tool_runner,
    parse,
    parse_streamed,
    picture,
    thinking,
    thinking_streamed,
    count_tokens,
    models,
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
    run("anthropic", CHECKS)

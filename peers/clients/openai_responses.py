"""openai from 1 on: the Responses API, without anything kept on the server."""

import functools
from typing import Any, Final

import openai
import pydantic
from openai import AsyncOpenAI, OpenAI

from peers.clients.checking import (
    PERSON,
    PNG,
    PNG_SEEN,
    TIMEOUT,
    Here,
    Skipped,
    awaited,
    near,
    raises,
    run,
    same,
    through,
)

# Providers of chat.completions have no state of thoughts that could come back through another dialect.
STATELESS: Final = "chat.completions"
TOOL: Final[Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
STATE: Final[Any] = ["reasoning.encrypted_content"]


class Person(pydantic.BaseModel):
    name: str
    age: int


@functools.cache
def client(here: Here, key: str | None = None) -> OpenAI:
    return OpenAI(api_key=key or here.key, base_url=f"{here.root}/v1", max_retries=0, timeout=TIMEOUT)


def asking(here: Here, scene: str, mark: str, **more: Any) -> dict[str, Any]:
    """The arguments of a call whose user asks for a scene."""
    said = {"role": "user", "content": f"[{scene}:{mark}] Please."}
    return {"model": here.model, "input": [said], "store": False, **more}


def responses(here: Here) -> Any:
    return client(here).responses


def complete(here: Here) -> None:
    answer = responses(here).create(model=here.model, input=f"[hello:{here.mark()}]", instructions="Be kind.")
    same((answer.output_text, answer.status, answer.object), ("Hello there", "completed", "response"))
    usage = answer.usage
    same((usage.input_tokens, usage.output_tokens, usage.total_tokens), (20, 7, 27))
    same(usage.input_tokens_details.cached_tokens, 4)


def stream(here: Here) -> None:
    mark = here.mark()
    said, kinds, numbers = [], [], []
    for event in responses(here).create(**asking(here, "gated", mark), stream=True):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            said.append(event.delta)
            here.open(mark)
    same(said, ["One", " two"])
    same((kinds[0], kinds[-1]), ("response.created", "response.completed"))
    same(numbers, list(range(len(numbers))))
    same(event.response.output_text, "One two")
    same(event.response.usage.output_tokens, 7)


def stream_helper(here: Here) -> None:
    with responses(here).stream(**asking(here, "hello", here.mark())) as events:
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        same(deltas, ["Hel", "lo ", "there"])
        same(events.get_final_response().output_text, "Hello there")


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        async with AsyncOpenAI(api_key=here.key, base_url=f"{here.root}/v1", max_retries=0, timeout=TIMEOUT) as own:
            answer = await own.responses.create(**asking(here, "hello", here.mark()))
            events = await own.responses.create(**asking(here, "hello", here.mark()), stream=True)
            said = [event.delta async for event in events if event.type == "response.output_text.delta"]
        return answer.output_text, "|".join(said)

    same(awaited(both()), ("Hello there", "Hel|lo |there"))


def cut_short(here: Here) -> None:
    answer = responses(here).create(**asking(here, "long", here.mark()))
    same((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))


def history(here: Here) -> None:
    said = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Good morning."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Morning!", "annotations": []}]},
        {"role": "user", "content": f"[history:{here.mark()}]"},
    ]
    words = responses(here).create(model=here.model, input=said, store=False).output_text.split("|")
    same(words[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def _round_trip(here: Here, first: Any, asked: dict[str, Any]) -> str:
    """Sends the calls back with their results, and says what the model makes of them."""
    calls = [item for item in first.output if item.type == "function_call"]
    same([call.name for call in calls], ["weather", "weather"])
    same([call.arguments.replace('":"', '": "') for call in calls], ['{"city": "Paris"}', '{"city": "Rome"}'])
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"{20 + number} degrees"}
        for number, call in enumerate(calls)
    ]
    said = [item.to_dict() if hasattr(item, "to_dict") else item for item in first.output]
    return str(responses(here).create(**{**asked, "input": [*asked["input"], *said, *results]}).output_text)


def tools(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL])
    first = responses(here).create(**asked)
    same(first.output_text, "Let me look.")
    same(_round_trip(here, first, asked), "It is: 20 degrees / 21 degrees")


def tools_streamed(here: Here) -> None:
    asked = asking(here, "tools", here.mark(), tools=[TOOL], parallel_tool_calls=True)
    kinds = []
    for event in responses(here).create(**asked, stream=True):
        kinds.append(event.type)
    assert kinds.count("response.function_call_arguments.delta") >= 2, kinds
    same(kinds.count("response.function_call_arguments.done"), 2)
    same(_round_trip(here, event.response, asked), "It is: 20 degrees / 21 degrees")


def parse(here: Here) -> None:
    same(
        responses(here).parse(**asking(here, "schema", here.mark()), text_format=Person).output_parsed,
        Person(**PERSON),
    )


def parse_streamed(here: Here) -> None:
    with responses(here).stream(**asking(here, "schema", here.mark()), text_format=Person) as events:
        for _ in events:
            pass
        same(events.get_final_response().output_parsed, Person(**PERSON))


def picture(here: Here) -> None:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
    content = [{"type": "input_text", "text": f"[picture:{here.mark()}]"}, image]
    answer = responses(here).create(model=here.model, input=[{"role": "user", "content": content}], store=False)
    assert answer.output_text.startswith(f"I see {PNG_SEEN}"), answer


def _remembered(here: Here, mark: str) -> str:
    return f"States: {'none' if here.wire == STATELESS else mark}"


def thinking(here: Here) -> None:
    """A summary is shown, and the encrypted state comes back to the model as it was."""
    mark = here.mark()
    thought = {"reasoning": {"effort": "medium", "summary": "auto"}, "include": STATE}
    asked = asking(here, "think", mark, **thought)
    answer = responses(here).create(**asked)
    same([item.type for item in answer.output], ["reasoning", "message"])
    same("".join(part.text for part in answer.output[0].summary), "I should think.")
    assert answer.output[0].encrypted_content
    same((answer.output_text, answer.usage.output_tokens), ("Forty-two.", 12))
    asked["input"] += [
        *(item.to_dict() for item in answer.output),
        {"role": "user", "content": f"[recall:{here.mark()}]"},
    ]
    same(responses(here).create(**asked).output_text, _remembered(here, mark))


def thinking_streamed(here: Here) -> None:
    """The same in a stream, with calls, where the state matters most."""
    mark = here.mark()
    thought = {"reasoning": {"effort": "high", "summary": "auto"}, "include": STATE}
    asked = asking(here, "thinktools", mark, tools=[TOOL], **thought)
    kinds = []
    for event in responses(here).create(**asked, stream=True):
        kinds.append(event.type)
    same(kinds.count("response.reasoning_summary_text.delta"), 2)
    same([item.type for item in event.response.output], ["reasoning", "function_call", "function_call"])
    same(_round_trip(here, event.response, asked), _remembered(here, mark))


def input_tokens(here: Here) -> None:
    if not hasattr(responses(here), "input_tokens"):
        raise Skipped("this version cannot count")
    counted = responses(here).input_tokens.count(model=here.model, input="How many are these?", tools=[TOOL])
    assert counted.input_tokens > 5, counted


def kept(here: Here) -> None:
    """What asks for a response that is kept is refused, rather than misunderstood."""
    asked = asking(here, "hello", here.mark(), previous_response_id="resp_1")
    error = raises(openai.BadRequestError, lambda: responses(here).create(**asked))
    same((error.code, error.param), ("unsupported_parameter", "previous_response_id"))


def unknown_key(here: Here) -> None:
    own = client(here, "sk-nobody").responses
    error = raises(openai.AuthenticationError, lambda: own.create(**asking(here, "hello", here.mark())))
    same(error.code, "invalid_api_key")


def unknown_model(here: Here) -> None:
    asked = {**asking(here, "hello", here.mark()), "model": "missing-model"}
    same(raises(openai.NotFoundError, lambda: responses(here).create(**asked)).code, "model_not_found")


def bad_request(here: Here) -> None:
    refused = asking(here, "fail-400", here.mark())
    assert "fail-400" in str(raises(openai.BadRequestError, lambda: responses(here).create(**refused)))
    wrong = {**refused, "input": [*refused["input"], {"type": "function_call_output", "call_id": 7}]}
    raises(openai.BadRequestError, lambda: responses(here).create(**wrong))


def refusals(here: Here) -> None:
    """What the provider refuses in the end, whole and before a stream begins."""
    kinds = {"fail-429": openai.RateLimitError, "fail-500": openai.InternalServerError}
    for scene, kind in kinds.items():
        for streamed in (False, True):
            asked = {**asking(here, scene, here.mark()), "model": here.trouble, "stream": streamed}
            raises(kind, lambda asked=asked: responses(here).create(**asked))


def own_limit(here: Here) -> None:
    """The limit of a key of Posthouse's: the second call within the minute."""
    own = client(here, here.new_key({"limits": {"rpm": 1}})).responses
    own.create(**asking(here, "hello", here.mark()))
    error = raises(openai.RateLimitError, lambda: own.create(**asking(here, "hello", here.mark())))
    same((error.code, error.type), ("rate_limit_exceeded", "requests"))


def broken_stream(here: Here) -> None:
    """What ends too early says so: the SDK gives an error event to its user rather than raising one."""
    for scene in ("break", "fault"):
        mark = here.mark()
        asked = {**asking(here, scene, mark), "model": here.trouble}
        said, ends = [], []
        for event in responses(here).create(**asked, stream=True):
            if event.type == "response.output_text.delta":
                said.append(event.delta)
                here.open(mark)
            elif event.type in ("error", "response.failed", "response.completed"):
                ends.append(event)
        same(said, ["One"])
        same([event.type for event in ends], ["error", "response.failed"])
        same(ends[-1].response.status, "failed")
        assert ends[-1].response.error.message, ends


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    events = responses(here).create(**asking(here, "slow", here.mark()), stream=True)
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), "One two")


def leaving(here: Here) -> None:
    """Who leaves a stream stops the provider too."""
    mark = here.mark()
    with responses(here).create(**asking(here, "hang", mark), stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                break
    assert here.left(mark), "the upstream was not left"


CHECKS: Final = (
    complete,
    stream,
    stream_helper,
    asynchronous,
    cut_short,
    history,
    tools,
    tools_streamed,
    parse,
    parse_streamed,
    picture,
    thinking,
    thinking_streamed,
    input_tokens,
    through(kept),
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

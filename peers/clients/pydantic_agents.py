"""pydantic-ai's agents, by the name of the face that they speak to: chat, responses, anthropic or gemini."""

import functools
import sys
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

import pydantic
from anthropic import AsyncAnthropic
from google.genai import Client
from google.genai.types import HttpOptions
from openai import AsyncOpenAI
from pydantic_ai import Agent, BinaryContent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from peers.clients.checking import PERSON, PNG, PNG_SEEN, TIMEOUT, Here, awaited, near, raises, run, same, through

FACE: Final = sys.argv[1]


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def _openai(kind: Callable[..., Any], here: Here, name: str, key: str) -> Any:
    own = AsyncOpenAI(base_url=f"{here.root}/v1", api_key=key, max_retries=0, timeout=TIMEOUT)
    # The package goes by the names of models that it knows.
    profile = {"openai_supports_encrypted_reasoning_content": kind is OpenAIResponsesModel}
    return kind(name, provider=OpenAIProvider(openai_client=own), profile=profile)


def _anthropic(here: Here, name: str, key: str) -> Any:
    own = AsyncAnthropic(base_url=here.root, api_key=key, max_retries=0, timeout=TIMEOUT)
    profile = {"supports_json_schema_output": True}
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=own), profile=profile)


def _gemini(here: Here, name: str, key: str) -> Any:
    own = Client(api_key=key, http_options=HttpOptions(base_url=here.root, timeout=int(TIMEOUT * 1000)))
    return GoogleModel(name, provider=GoogleProvider(client=own))


# How to make a model, and under which settings it tells its thoughts.
FACES: Final[dict[str, tuple[Callable[[Here, str, str], Any], dict[str, Any]]]] = {
    "chat": (functools.partial(_openai, OpenAIChatModel), {"openai_reasoning_effort": "medium"}),
    "responses": (
        functools.partial(_openai, OpenAIResponsesModel),
        {"openai_reasoning_effort": "medium", "openai_reasoning_summary": "auto", "openai_store": False},
    ),
    "anthropic": (_anthropic, {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}),
    "gemini": (_gemini, {"google_thinking_config": {"include_thoughts": True, "thinking_budget": 1024}}),
}
MAKE, THINKS = FACES[FACE]


@functools.cache
def model(here: Here, name: str, key: str) -> Any:
    return MAKE(here, name, key)


def agent(here: Here, name: str = "", key: str = "", **more: Any) -> Any:
    return Agent(model(here, name or here.model, key or here.key), **more)


def ask(own: Any, prompt: Any, history: Any = None) -> Any:
    return awaited(own.run(prompt, message_history=history))


def complete(here: Here) -> None:
    answer = ask(agent(here), f"[hello:{here.mark()}]")
    same(answer.output, "Hello there")
    usage = answer.usage() if callable(answer.usage) else answer.usage
    same((usage.input_tokens, usage.output_tokens, usage.cache_read_tokens), (20, 7, 4))


def stream(here: Here) -> None:
    mark = here.mark()

    async def read() -> list[str]:
        said = []
        async with agent(here).run_stream(f"[gated:{mark}]") as answer:
            async for text in answer.stream_text(delta=True, debounce_by=None):
                said.append(text)
                here.open(mark)
        return said

    same(awaited(read()), ["One", " two"])


def history(here: Here) -> None:
    own = agent(here, instructions="Be brief.")
    first = ask(own, f"[hello:{here.mark()}]")
    words = ask(own, f"[history:{here.mark()}]", first.all_messages()).output.split("|")
    same((words[0], words[2]), ("system=Be brief.", "assistant=Hello there"))


def tools(here: Here) -> None:
    _told(ask(agent(here, tools=[weather]), f"[tools:{here.mark()}]").output)


def _told(said: str) -> None:
    """Some faces get results as they are, others within an object."""
    first, second = said.removeprefix("It is: ").split(" / ")
    assert "sunny in Paris" in first and "sunny in Rome" in second, said


def tools_streamed(here: Here) -> None:
    async def read() -> str:
        said = ""
        async with agent(here, tools=[weather]).iter(f"[tools:{here.mark()}]") as steps:
            async for node in steps:
                if Agent.is_model_request_node(node):
                    async with node.stream(steps.ctx) as events:
                        async for _ in events:
                            pass
            said = steps.result.output
        return said

    _told(awaited(read()))


def structured(here: Here) -> None:
    same(ask(agent(here, output_type=NativeOutput(Person)), f"[schema:{here.mark()}]").output, Person(**PERSON))


def structured_by_tool(here: Here) -> None:
    same(ask(agent(here, output_type=ToolOutput(Person)), f"[schema:{here.mark()}]").output, Person(**PERSON))


def picture(here: Here) -> None:
    image = BinaryContent(data=b64decode(PNG), media_type="image/png")
    answer = ask(agent(here), [f"[picture:{here.mark()}]", image])
    assert answer.output.startswith(f"I see {PNG_SEEN}"), answer.output


def thinking(here: Here) -> None:
    """Thoughts are shown, and their state comes back to the model as it was, through calls too."""
    mark = here.mark()
    own = agent(here, tools=[weather], model_settings=THINKS)
    answer = ask(own, f"[thinktools:{mark}]")
    if FACE != "chat":
        parts = [part for message in answer.all_messages() for part in message.parts]
        assert any(isinstance(part, ThinkingPart) and part.content == "I should look." for part in parts), parts
    lost = FACE == "chat" or here.wire == "chat.completions"
    same(answer.output, f"States: {'none' if lost else mark}")


def unknown_key(here: Here) -> None:
    own = agent(here, key="sk-nobody")
    same(raises(ModelHTTPError, lambda: ask(own, f"[hello:{here.mark()}]")).status_code, 401)


def refusals(here: Here) -> None:
    own = agent(here, name=here.trouble)
    same(raises(ModelHTTPError, lambda: ask(own, f"[fail-429:{here.mark()}]")).status_code, 429)
    assert raises(ModelHTTPError, lambda: ask(own, f"[fail-500:{here.mark()}]")).status_code in (500, 502)
    same(raises(ModelHTTPError, lambda: ask(own, f"[fail-400:{here.mark()}]")).status_code, 400)


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    own = agent(here, name=here.trouble)
    for scene in ("break", "fault"):
        mark = here.mark()
        said: list[str] = []

        async def read(scene: str = scene, mark: str = mark, said: list[str] = said) -> None:
            async with own.run_stream(f"[{scene}:{mark}]") as answer:
                async for text in answer.stream_text(delta=True, debounce_by=None):
                    said.append(text)
                    here.open(mark)

        raises(ModelAPIError, lambda read=read: awaited(read()))
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""

    async def read() -> str:
        async with agent(here).run_stream(f"[slow:{here.mark()}]") as answer:
            return str(await answer.get_output())

    same(awaited(read()), "One two")


CHECKS: Final = (
    complete,
    stream,
    history,
    tools,
    tools_streamed,
    structured,
    structured_by_tool,
    picture,
    thinking,
    unknown_key,
    refusals,
    through(broken_stream),
    near(slow),
)

if __name__ == "__main__":
    run("pydantic-ai-slim", CHECKS)

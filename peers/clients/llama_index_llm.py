"""LlamaIndex's OpenAILike: chat, prompts, tools and structured answers."""

import functools
from base64 import b64decode
from typing import Any, Final

import openai
import pydantic
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from peers.clients.checking import (
    PERSON,
    PNG,
    PNG_SEEN,
    TIMEOUT,
    Here,
    able,
    awaited,
    near,
    raises,
    run,
    same,
    through,
)


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@functools.cache
def model(here: Here, name: str = "", key: str = "", chat: bool = True) -> OpenAILike:
    return OpenAILike(
        model=name or here.model,
        api_base=f"{here.root}/v1",
        api_key=key or here.key,
        is_chat_model=chat,
        is_function_calling_model=chat,
        max_retries=0,
        timeout=TIMEOUT,
        context_window=32_000,
    )


def says(here: Here, scene: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=f"[{scene}:{here.mark()}] Please.")]


def complete(here: Here) -> None:
    answer = model(here).chat(says(here, "hello"))
    same(answer.message.content, "Hello there")
    usage = answer.raw.usage
    same((usage.prompt_tokens, usage.completion_tokens), (20, 7))


def stream(here: Here) -> None:
    mark = here.mark()
    said = []
    for chunk in model(here).stream_chat([ChatMessage(role="user", content=f"[gated:{mark}]")]):
        if chunk.delta:
            said.append(chunk.delta)
            here.open(mark)
    same(said, ["One", " two"])


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        answer = await model(here).achat(says(here, "hello"))
        chunks = [chunk.delta or "" async for chunk in await model(here).astream_chat(says(here, "hello"))]
        return str(answer.message.content), "".join(chunks)

    same(awaited(both()), ("Hello there", "Hello there"))


def history(here: Here) -> None:
    said = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="Good morning."),
        ChatMessage(role="assistant", content="Morning!"),
    ]
    words = str(model(here).chat([*said, *says(here, "history")]).message.content).split("|")
    same(words[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def _answered(here: Here, said: list[ChatMessage], message: ChatMessage, calls: Any) -> None:
    same([call.tool_name for call in calls], ["weather", "weather"])
    results = [
        ChatMessage(
            role=MessageRole.TOOL,
            content=weather(**call.tool_kwargs),
            additional_kwargs={"tool_call_id": call.tool_id, "name": call.tool_name},
        )
        for call in calls
    ]
    tool = FunctionTool.from_defaults(weather)
    answer = model(here).chat_with_tools([tool], chat_history=[*said, message, *results])
    same(answer.message.content, "It is: sunny in Paris / sunny in Rome")


def tools(here: Here) -> None:
    said = says(here, "tools")
    tool = FunctionTool.from_defaults(weather)
    answer = model(here).chat_with_tools([tool], chat_history=said, allow_parallel_tool_calls=True)
    _answered(here, said, answer.message, model(here).get_tool_calls_from_response(answer))


def tools_streamed(here: Here) -> None:
    said = says(here, "tools")
    tool = FunctionTool.from_defaults(weather)
    *_, last = model(here).stream_chat_with_tools([tool], chat_history=said, allow_parallel_tool_calls=True)
    _answered(here, said, last.message, model(here).get_tool_calls_from_response(last))


def structured(here: Here) -> None:
    prompt = PromptTemplate("[schema:{mark}] Please.")
    same(model(here).structured_predict(Person, prompt, mark=here.mark()), Person(**PERSON))


def picture(here: Here) -> None:
    blocks = [ImageBlock(image=b64decode(PNG), image_mimetype="image/png"), TextBlock(text=f"[picture:{here.mark()}]")]
    answer = model(here).chat([ChatMessage(role="user", blocks=blocks)])
    assert str(answer.message.content).startswith(f"I see {PNG_SEEN}"), answer.message


def prompts(here: Here) -> None:
    """The API of prompts."""
    own = model(here, chat=False)
    same(own.complete(f"[hello:{here.mark()}]").text, "Hello there")
    same("".join(chunk.delta or "" for chunk in own.stream_complete(f"[hello:{here.mark()}]")), "Hello there")


def errors(here: Here) -> None:
    own = model(here, key="sk-nobody")
    raises(openai.AuthenticationError, lambda: own.chat(says(here, "hello")))
    limited = model(here, name=here.trouble)
    raises(openai.RateLimitError, lambda: limited.chat(says(here, "fail-429")))
    raises(openai.BadRequestError, lambda: limited.chat(says(here, "fail-400")))


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    own = model(here, name=here.trouble)
    for scene in ("break", "fault"):
        mark = here.mark()
        said: list[str] = []

        def read(scene: str = scene, mark: str = mark, said: list[str] = said) -> None:
            for chunk in own.stream_chat([ChatMessage(role="user", content=f"[{scene}:{mark}]")]):
                if chunk.delta:
                    said.append(chunk.delta)
                    here.open(mark)

        raises(openai.APIError, read)
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    same("".join(chunk.delta or "" for chunk in model(here).stream_chat(says(here, "slow"))), "One two")


CHECKS: Final = (
    complete,
    stream,
    asynchronous,
    able(history),
    able(tools),
    able(tools_streamed),
    able(structured),
    able(picture),
    prompts,
    errors,
    through(broken_stream),
    near(slow),
)

if __name__ == "__main__":
    run("llama-index-llms-openai-like", CHECKS)

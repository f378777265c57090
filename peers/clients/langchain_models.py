"""LangChain's models, by the name of the face that they speak to: chat, responses, anthropic or gemini."""

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

import anthropic
import openai
import pydantic
from google.genai.errors import APIError
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from peers.clients.checking import (
    PERSON,
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


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def _chat(here: Here, model: str, key: str, more: dict[str, Any]) -> Any:
    return ChatOpenAI(
        model=model, base_url=f"{here.root}/v1", api_key=key, max_retries=0, timeout=TIMEOUT, stream_usage=True, **more
    )


def _anthropic(here: Here, model: str, key: str, more: dict[str, Any]) -> Any:
    return ChatAnthropic(
        model_name=model, base_url=here.root, api_key=key, max_retries=0, timeout=TIMEOUT, max_tokens=2048, **more
    )


def _gemini(here: Here, model: str, key: str, more: dict[str, Any]) -> Any:
    return ChatGoogleGenerativeAI(model=model, base_url=here.root, api_key=key, max_retries=1, timeout=TIMEOUT, **more)


class Face:
    """`thinks` are the settings under which a model tells its thoughts, and keeps their state."""

    def __init__(self, make: Callable[..., Any], thinks: dict[str, Any], errors: tuple[Any, Any, Any]) -> None:
        self.make = make
        self.thinks = thinks
        self.unauthorized, self.limited, self.broken = errors


OPENAI: Final = (openai.AuthenticationError, openai.RateLimitError, openai.APIError)
ANTHROPIC: Final = (anthropic.AuthenticationError, anthropic.RateLimitError, anthropic.APIStatusError)
FACES: Final = {
    "chat": Face(_chat, {}, OPENAI),
    "responses": Face(
        _chat,
        {"reasoning": {"effort": "medium", "summary": "auto"}, "include": ["reasoning.encrypted_content"]},
        (*OPENAI[:2], Exception),
    ),
    "anthropic": Face(_anthropic, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, ANTHROPIC),
    "gemini": Face(
        _gemini,
        {"include_thoughts": True, "thinking_budget": 1024},
        (ChatGoogleGenerativeAIError, ChatGoogleGenerativeAIError, APIError),
    ),
}
MINE: Final = FACES[FACE]


@functools.cache
def plain(here: Here) -> Any:
    return model(here)


def model(here: Here, key: str = "", name: str = "", **more: Any) -> Any:
    usual = {"use_responses_api": True, "store": False} if FACE == "responses" else {}
    return MINE.make(here, name or here.model, key or here.key, {**usual, **more})


def says(here: Here, scene: str) -> list[Any]:
    return [HumanMessage(f"[{scene}:{here.mark()}] Please.")]


def complete(here: Here) -> None:
    message = plain(here).invoke(says(here, "hello"))
    same(message.text, "Hello there")
    usage = message.usage_metadata
    same((usage["input_tokens"], usage["output_tokens"]), (20, 7))
    same(usage["input_token_details"]["cache_read"], 4)


def stream(here: Here) -> None:
    mark = here.mark()
    said, whole = [], None
    for chunk in plain(here).stream([HumanMessage(f"[gated:{mark}]")]):
        whole = chunk if whole is None else whole + chunk
        if chunk.text:
            said.append(chunk.text)
            here.open(mark)
    same(said, ["One", " two"])
    same(whole.usage_metadata["output_tokens"], 7)


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        own = model(here)
        message = await own.ainvoke(says(here, "hello"))
        said = [chunk.text async for chunk in own.astream(says(here, "hello"))]
        return message.text, "".join(said)

    same(awaited(both()), ("Hello there", "Hello there"))


def history(here: Here) -> None:
    said = [SystemMessage("Be brief."), HumanMessage("Good morning."), AIMessage("Morning!")]
    words = plain(here).invoke([*said, HumanMessage(f"[history:{here.mark()}]")]).text.split("|")
    same(words[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def _results(message: Any) -> list[Any]:
    same([call["name"] for call in message.tool_calls], ["weather", "weather"])
    same([call["args"] for call in message.tool_calls], [{"city": "Paris"}, {"city": "Rome"}])
    return [weather.invoke({**call, "type": "tool_call"}) for call in message.tool_calls]


def tools(here: Here) -> None:
    said = says(here, "tools")
    bound = plain(here).bind_tools([weather])
    message = bound.invoke(said)
    same(message.text, "Let me look.")
    answer = bound.invoke([*said, message, *_results(message)])
    same(answer.text, "It is: sunny in Paris / sunny in Rome")


def tools_streamed(here: Here) -> None:
    said = says(here, "tools")
    bound = plain(here).bind_tools([weather])
    message = functools.reduce(lambda whole, chunk: whole + chunk, bound.stream(said))
    same(
        "".join(chunk.text for chunk in bound.stream([*said, message, *_results(message)])),
        "It is: sunny in Paris / sunny in Rome",
    )


def tool_failed(here: Here) -> None:
    """A tool that fails says so, in words."""
    said = says(here, "tools")
    bound = plain(here).bind_tools([weather])
    message = bound.invoke(said)
    results = [
        ToolMessage("no such city", tool_call_id=call["id"], status="error", name="weather")
        for call in message.tool_calls
    ]
    assert "no such city" in bound.invoke([*said, message, *results]).text


def structured(here: Here) -> None:
    """By the method that is the package's own choice."""
    same(plain(here).with_structured_output(Person).invoke(says(here, "schema")), Person(**PERSON))


def structured_by_tool(here: Here) -> None:
    method = plain(here).with_structured_output(Person, method="function_calling")
    same(method.invoke(says(here, "schema")), Person(**PERSON))


def picture(here: Here) -> None:
    content = [
        {"type": "text", "text": f"[picture:{here.mark()}]"},
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
    ]
    message = plain(here).invoke([HumanMessage(content_blocks=content)])
    assert message.text.startswith(f"I see {PNG_SEEN}"), message.text


def _remembered(here: Here, mark: str) -> str:
    """Nobody's state: of providers of chat.completions in other dialects, and in chat.completions, where the package
    keeps none."""
    lost = FACE == "chat" or here.wire == "chat.completions"
    return f"States: {'none' if lost else mark}"


def thinking(here: Here) -> None:
    """Thoughts are shown, and their state comes back to the model as it was."""
    mark = here.mark()
    own = model(here, **MINE.thinks)
    said = [HumanMessage(f"[think:{mark}]")]
    message = own.invoke(said)
    same(message.text, "Forty-two.")
    if MINE.thinks:
        thoughts = [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]
        same("".join(thoughts), "I should think.")
    answer = own.invoke([*said, message, *says(here, "recall")])
    same(answer.text, _remembered(here, mark))


def thinking_streamed(here: Here) -> None:
    """The same in a stream, with calls, where the state matters most."""
    mark = here.mark()
    own = model(here, **MINE.thinks).bind_tools([weather])
    said = [HumanMessage(f"[thinktools:{mark}]")]
    message = functools.reduce(lambda whole, chunk: whole + chunk, own.stream(said))
    same(own.invoke([*said, message, *_results(message)]).text, _remembered(here, mark))


def unknown_key(here: Here) -> None:
    own = model(here, key="sk-nobody")
    raises(MINE.unauthorized, lambda: own.invoke(says(here, "hello")))


def refusals(here: Here) -> None:
    own = model(here, name=here.trouble)
    raises(MINE.limited, lambda: own.invoke(says(here, "fail-429")))
    raises(MINE.limited, lambda: list(own.stream(says(here, "fail-429"))))


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    own = model(here, name=here.trouble)
    for scene in ("break", "fault"):
        mark = here.mark()
        said: list[str] = []

        def read(scene: str = scene, mark: str = mark, said: list[str] = said) -> None:
            for chunk in own.stream([HumanMessage(f"[{scene}:{mark}]")]):
                if chunk.text:
                    said.append(chunk.text)
                    here.open(mark)

        raises(MINE.broken, read)
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    same("".join(chunk.text for chunk in plain(here).stream(says(here, "slow"))), "One two")


def embeddings(here: Here) -> None:
    if FACE == "gemini":
        own = GoogleGenerativeAIEmbeddings(model=here.vectors, api_key=here.key, base_url=here.root)
    else:
        # Its default is to send tokens in place of text, counted with a vocabulary from the network.
        own = OpenAIEmbeddings(
            model=here.vectors, api_key=here.key, base_url=f"{here.root}/v1", check_embedding_ctx_length=False
        )
    same(own.embed_documents(["four", "seventeen"]), [[4.0, -0.5], [9.0, -0.5]])


def completions(here: Here) -> None:
    own = OpenAI(model=here.model, api_key=here.key, base_url=f"{here.root}/v1", max_retries=0, timeout=TIMEOUT)
    same(own.invoke(f"[hello:{here.mark()}]"), "Hello there")
    same("".join(own.stream(f"[hello:{here.mark()}]")), "Hello there")


OWN: Final[dict[str, tuple[Callable[[Here], None] | Check, ...]]] = {
    "chat": (embeddings, completions),
    "responses": (),
    "anthropic": (),
    "gemini": (embeddings,),
}
CHECKS: Final = (
    complete,
    stream,
    asynchronous,
    able(history),
    able(tools),
    able(tools_streamed),
    able(tool_failed),
    able(structured),
    able(structured_by_tool),
    able(picture),
    able(thinking),
    able(thinking_streamed),
    unknown_key,
    refusals,
    through(broken_stream),
    near(slow),
    *OWN[FACE],
)

if __name__ == "__main__":
    run({"anthropic": "langchain-anthropic", "gemini": "langchain-google-genai"}.get(FACE, "langchain-openai"), CHECKS)

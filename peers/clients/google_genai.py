"""google-genai: generateContent, with the tools that the SDK calls by itself and the chats that it keeps."""

import functools
from base64 import b64decode
from typing import Any, Final

import pydantic
from google import genai
from google.genai import errors, types

from peers.clients.checking import PERSON, PNG, PNG_SEEN, TIMEOUT, Here, awaited, near, raises, run, same, through

# Providers of chat.completions have no state of thoughts that could come back through another dialect.
STATELESS: Final = "chat.completions"
DECLARED: Final = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a city.",
            parameters=types.Schema(
                type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
            ),
        )
    ]
)
THINKING: Final = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)


class Person(pydantic.BaseModel):
    name: str
    age: int


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@functools.cache
def client(here: Here, key: str | None = None) -> genai.Client:
    options = types.HttpOptions(base_url=here.root, timeout=int(TIMEOUT * 1000))
    return genai.Client(api_key=key or here.key, http_options=options)


def ask(here: Here, scene: str, mark: str, own: Any = None, **config: Any) -> Any:
    """A whole answer to a user who asks for a scene."""
    return (own or client(here)).models.generate_content(
        model=here.model, contents=f"[{scene}:{mark}] Please.", config=types.GenerateContentConfig(**config)
    )


def streamed(here: Here, scene: str, mark: str, model: str = "") -> Any:
    return client(here).models.generate_content_stream(model=model or here.model, contents=f"[{scene}:{mark}] Please.")


def complete(here: Here) -> None:
    answer = ask(here, "hello", here.mark(), temperature=0.5, max_output_tokens=99)
    same((answer.text, answer.candidates[0].finish_reason), ("Hello there", types.FinishReason.STOP))
    usage = answer.usage_metadata
    same((usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count), (20, 7, 27))
    same(usage.cached_content_token_count, 4)


def stream(here: Here) -> None:
    mark = here.mark()
    said = []
    for chunk in streamed(here, "gated", mark):
        if chunk.text:
            said.append(chunk.text)
            here.open(mark)
    same(said, ["One", " two"])
    same(chunk.candidates[0].finish_reason, types.FinishReason.STOP)
    same(chunk.usage_metadata.candidates_token_count, 7)


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        own = genai.Client(
            api_key=here.key, http_options=types.HttpOptions(base_url=here.root, timeout=int(TIMEOUT * 1000))
        ).aio
        contents = f"[hello:{here.mark()}]"
        answer = await own.models.generate_content(model=here.model, contents=contents)
        chunks = await own.models.generate_content_stream(model=here.model, contents=f"[hello:{here.mark()}]")
        said = [chunk.text async for chunk in chunks]
        return answer.text, "|".join(text for text in said if text)

    same(awaited(both()), ("Hello there", "Hel|lo |there"))


def cut_short(here: Here) -> None:
    same(ask(here, "long", here.mark()).candidates[0].finish_reason, types.FinishReason.MAX_TOKENS)


def history(here: Here) -> None:
    said = [
        types.Content(role="user", parts=[types.Part(text="Good morning.")]),
        types.Content(role="model", parts=[types.Part(text="Morning!")]),
        types.Content(role="user", parts=[types.Part(text=f"[history:{here.mark()}]")]),
    ]
    config = types.GenerateContentConfig(system_instruction="Be brief.")
    answer = client(here).models.generate_content(model=here.model, contents=said, config=config)
    same(answer.text.split("|")[:3], ["system=Be brief.", "user=Good morning.", "assistant=Morning!"])


def chats(here: Here) -> None:
    """The SDK keeps the conversation."""
    chat = client(here).chats.create(model=here.model)
    same(chat.send_message(f"[hello:{here.mark()}]").text, "Hello there")
    words = "".join(chunk.text or "" for chunk in chat.send_message_stream(f"[history:{here.mark()}]")).split("|")
    same(words[1:2], ["assistant=Hello there"])


def _results(calls: Any) -> Any:
    return types.Content(
        role="user",
        parts=[
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": f"{20 + number} degrees"}
                )
            )
            for number, call in enumerate(calls)
        ],
    )


def _by_hand(here: Here, scene: str, mark: str, parts: list[Any], config: Any) -> str:
    """Sends the calls back with their results, and says what the model makes of them."""
    calls = [part.function_call for part in parts if part.function_call]
    same([(call.name, call.args) for call in calls], [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})])
    said = [
        types.Content(role="user", parts=[types.Part(text=f"[{scene}:{mark}] Please.")]),
        types.Content(role="model", parts=parts),
        _results(calls),
    ]
    return str(client(here).models.generate_content(model=here.model, contents=said, config=config).text)


def tools(here: Here) -> None:
    mark = here.mark()
    config = types.GenerateContentConfig(tools=[DECLARED])
    answer = client(here).models.generate_content(model=here.model, contents=f"[tools:{mark}] Please.", config=config)
    parts = answer.candidates[0].content.parts
    same("".join(part.text or "" for part in parts), "Let me look.")
    same(_by_hand(here, "tools", mark, parts, config), "It is: 20 degrees / 21 degrees")


def tools_streamed(here: Here) -> None:
    mark = here.mark()
    config = types.GenerateContentConfig(tools=[DECLARED], thinking_config=THINKING)
    chunks = client(here).models.generate_content_stream(
        model=here.model, contents=f"[thinktools:{mark}] Please.", config=config
    )
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    same("".join(part.text or "" for part in parts if part.thought), "I should look.")
    same(_by_hand(here, "thinktools", mark, parts, config), _remembered(here, mark))


def automatic_tools(here: Here) -> None:
    """Functions that the SDK calls by itself, with thoughts whose state must not be lost."""
    mark = here.mark()
    answer = ask(here, "thinktools", mark, tools=[weather], thinking_config=THINKING)
    same(answer.text, _remembered(here, mark))
    chunks = client(here).models.generate_content_stream(
        model=here.model,
        contents=f"[thinktools:{(mark := here.mark())}]",
        config=types.GenerateContentConfig(tools=[weather], thinking_config=THINKING),
    )
    said = [part.text or "" for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    assert "".join(said).endswith(_remembered(here, mark)), said


def parse(here: Here) -> None:
    answer = ask(here, "schema", here.mark(), response_mime_type="application/json", response_schema=Person)
    same(answer.parsed, Person(**PERSON))


def parse_json_schema(here: Here) -> None:
    schema = Person.model_json_schema()
    answer = ask(here, "schema", here.mark(), response_mime_type="application/json", response_json_schema=schema)
    same(answer.parsed, PERSON)


def picture(here: Here) -> None:
    image = types.Part.from_bytes(data=b64decode(PNG), mime_type="image/png")
    answer = client(here).models.generate_content(model=here.model, contents=[image, f"[picture:{here.mark()}]"])
    assert answer.text.startswith(f"I see {PNG_SEEN}"), answer.text


def _remembered(here: Here, mark: str) -> str:
    return f"States: {'none' if here.wire == STATELESS else mark}"


def thinking(here: Here) -> None:
    """Thoughts are shown, and a chat sends their state back as it was."""
    mark = here.mark()
    config = types.GenerateContentConfig(thinking_config=THINKING)
    chat = client(here).chats.create(model=here.model, config=config)
    answer = chat.send_message(f"[think:{mark}]")
    parts = answer.candidates[0].content.parts
    same("".join(part.text for part in parts if part.thought), "I should think.")
    same((answer.text, answer.usage_metadata.candidates_token_count), ("Forty-two.", 7))
    same(answer.usage_metadata.thoughts_token_count, 5)
    same(chat.send_message(f"[recall:{here.mark()}]").text, _remembered(here, mark))


def thinking_streamed(here: Here) -> None:
    mark = here.mark()
    config = types.GenerateContentConfig(thinking_config=THINKING)
    chat = client(here).chats.create(model=here.model, config=config)
    parts = [
        part
        for chunk in chat.send_message_stream(f"[think:{mark}]")
        for part in chunk.candidates[0].content.parts or ()
    ]
    same("".join(part.text for part in parts if part.thought), "I should think.")
    same(chat.send_message(f"[recall:{here.mark()}]").text, _remembered(here, mark))


def count_tokens(here: Here) -> None:
    counted = client(here).models.count_tokens(model=here.model, contents="How many are these?")
    assert counted.total_tokens > 3, counted


def embeddings(here: Here) -> None:
    answer = client(here).models.embed_content(model=here.vectors, contents=["four", "seventeen"])
    same([one.values for one in answer.embeddings], [[4.0, -0.5], [9.0, -0.5]])


def models(here: Here) -> None:
    listed = [model.name for model in client(here).models.list()]
    assert f"models/{here.model}" in listed, listed
    same(client(here).models.get(model=here.model).name, f"models/{here.model}")


def _code(kind: Any, call: Any) -> tuple[int, str]:
    error = raises(kind, call)
    return error.code, error.status


def unknown_key(here: Here) -> None:
    own = client(here, "sk-nobody")
    same(
        _code(errors.ClientError, lambda: ask(here, "hello", here.mark(), own)),
        (401, "UNAUTHENTICATED"),
    )


def unknown_model(here: Here) -> None:
    def call() -> Any:
        return client(here).models.generate_content(model="missing-model", contents="Hello")

    same(_code(errors.ClientError, call), (404, "NOT_FOUND"))
    same(_code(errors.ClientError, lambda: client(here).models.get(model="missing-model"))[0], 404)


def bad_request(here: Here) -> None:
    same(_code(errors.ClientError, lambda: ask(here, "fail-400", here.mark())), (400, "INVALID_ARGUMENT"))


def refusals(here: Here) -> None:
    """What the provider refuses in the end, whole and before a stream begins."""
    kinds: dict[str, tuple[Any, int]] = {
        "fail-429": (errors.ClientError, 429),
        "fail-500": (errors.ServerError, 500 if here.direct else 502),
    }
    for scene, (kind, status) in kinds.items():
        asked = {"model": here.trouble, "contents": f"[{scene}:{here.mark()}]"}
        models = client(here).models
        same(_code(kind, functools.partial(models.generate_content, **asked))[0], status)
        same(_code(kind, lambda m=models, a=asked: list(m.generate_content_stream(**a)))[0], status)


def own_limit(here: Here) -> None:
    """The limit of a key of Posthouse's: the second call within the minute."""
    own = client(here, here.new_key({"limits": {"rpm": 1}}))
    ask(here, "hello", here.mark(), own)
    code = _code(errors.ClientError, lambda: ask(here, "hello", here.mark(), own))
    same(code, (429, "RESOURCE_EXHAUSTED"))


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    for scene in ("break", "fault"):
        mark = here.mark()
        said: list[str] = []

        def read(scene: str = scene, mark: str = mark, said: list[str] = said) -> None:
            for chunk in streamed(here, scene, mark, here.trouble):
                if chunk.text:
                    said.append(chunk.text)
                    here.open(mark)

        raises(errors.APIError, read)
        same(said, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    same("".join(chunk.text or "" for chunk in streamed(here, "slow", here.mark())), "One two")


def leaving(here: Here) -> None:
    """Who leaves a stream stops the provider too."""
    mark = here.mark()
    chunks = streamed(here, "hang", mark)
    same(next(chunks).text, "One")
    chunks.close()
    assert here.left(mark), "the upstream was not left"


CHECKS: Final = (
    complete,
    stream,
    asynchronous,
    cut_short,
    history,
    chats,
    tools,
    tools_streamed,
    automatic_tools,
    parse,
    parse_json_schema,
    picture,
    thinking,
    thinking_streamed,
    count_tokens,
    embeddings,
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
    run("google-genai", CHECKS)

"""openai before 1: classes in place of clients, engines and deployments in the path."""

from typing import Any, Final

import openai
from openai import error as errors

from peers.clients.checking import PNG, PNG_SEEN, TIMEOUT, Here, able, awaited, native, near, raises, run, same, through

FUNCTION: Final[Any] = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def where(here: Here, key: str | None = None) -> dict[str, Any]:
    """What says where the API is, as an argument of every call."""
    return {
        "api_key": key or here.key,
        "api_base": f"{here.root}/v1",
        "api_type": "open_ai",
        "request_timeout": TIMEOUT,
    }


def cloud(here: Here) -> dict[str, Any]:
    """The same as a cloud has it that names its deployments."""
    base = {"api_base": here.root, "api_type": "azure", "api_version": "2023-05-15"}
    return {**base, "api_key": here.key, "request_timeout": TIMEOUT}


def said(here: Here, scene: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"[{scene}:{here.mark()}] Please."}]


def asking(here: Here, scene: str) -> dict[str, Any]:
    return {"model": here.model, "messages": said(here, scene), **where(here)}


def text_of(chunks: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def complete(here: Here) -> None:
    answer = openai.ChatCompletion.create(**asking(here, "hello"))
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), ("Hello there", "stop"))
    same((answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]), (20, 7))


def stream(here: Here) -> None:
    mark = here.mark()
    asked = {"model": here.model, "messages": [{"role": "user", "content": f"[gated:{mark}]"}], **where(here)}
    words = []
    for chunk in openai.ChatCompletion.create(**asked, stream=True):
        if text := text_of([chunk]):
            words.append(text)
            here.open(mark)
    same(words, ["One", " two"])
    same(chunk["choices"][0]["finish_reason"], "stop")


def asynchronous(here: Here) -> None:
    async def both() -> tuple[str, str]:
        answer = await openai.ChatCompletion.acreate(**asking(here, "hello"))
        chunks = [chunk async for chunk in await openai.ChatCompletion.acreate(**asking(here, "hello"), stream=True)]
        return answer.choices[0].message.content, text_of(chunks)

    same(awaited(both()), ("Hello there", "Hello there"))


def cut_short(here: Here) -> None:
    same(openai.ChatCompletion.create(**asking(here, "long")).choices[0].finish_reason, "length")


def tools(here: Here) -> None:
    """Members that the package does not know, but sends."""
    asked = {**asking(here, "tools"), "tools": [{"type": "function", "function": FUNCTION}]}
    message = openai.ChatCompletion.create(**asked).choices[0].message.to_dict_recursive()
    calls = message["tool_calls"]
    same([call["function"]["name"] for call in calls], ["weather", "weather"])
    asked["messages"] += [message, *({"role": "tool", "tool_call_id": c["id"], "content": "20"} for c in calls)]
    same(openai.ChatCompletion.create(**asked).choices[0].message.content, "It is: 20 / 20")


def functions(here: Here) -> None:
    """What tools were called then. They pass; no other dialect has them."""
    asked = {**asking(here, "schema"), "functions": [{"name": "Person", "parameters": {"properties": {"age": {}}}}]}
    answer = openai.ChatCompletion.create(**asked, function_call="auto")
    same(answer.choices[0].message.tool_calls[0].function.name, "Person")


def picture(here: Here) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    asked = asking(here, "picture")
    asked["messages"][0]["content"] = [{"type": "text", "text": asked["messages"][0]["content"]}, image]
    assert openai.ChatCompletion.create(**asked).choices[0].message.content.startswith(f"I see {PNG_SEEN}")


def completion(here: Here) -> None:
    asked = {"model": here.model, "max_tokens": 9, **where(here)}
    answer = openai.Completion.create(**asked, prompt=f"[hello:{here.mark()}]")
    same((answer.choices[0].text, answer.choices[0].finish_reason), ("Hello there", "stop"))
    chunks = openai.Completion.create(**asked, prompt=f"[hello:{here.mark()}]", stream=True)
    same("".join(choice["text"] for chunk in chunks for choice in chunk["choices"]), "Hello there")


def embedding(here: Here) -> None:
    """The package asks for base64 by itself."""
    answer = openai.Embedding.create(model=here.vectors, input=["four", "seventeen"], **where(here))
    same([one["embedding"] for one in answer["data"]], [[4.0, -0.5], [9.0, -0.5]])


def models(here: Here) -> None:
    listed = [model.id for model in openai.Model.list(**where(here)).data]
    assert here.model in listed, listed
    same(openai.Model.retrieve(here.model, **where(here)).object, "model")


def engines(here: Here) -> None:
    """The model in the path, under the name that it had before."""
    listed = [engine.id for engine in openai.Engine.list(**where(here)).data]
    assert here.model in listed, listed
    answer = openai.ChatCompletion.create(engine=here.model, messages=said(here, "hello"), **where(here))
    same(answer.choices[0].message.content, "Hello there")
    chunks = openai.ChatCompletion.create(engine=here.model, messages=said(here, "hello"), stream=True, **where(here))
    same(text_of(chunks), "Hello there")
    prompt = f"[hello:{here.mark()}]"
    same(openai.Completion.create(engine=here.model, prompt=prompt, **where(here)).choices[0].text, "Hello there")
    vectors = openai.Embedding.create(engine=here.vectors, input="four", **where(here))
    same(vectors["data"][0]["embedding"], [4.0, -0.5])


def deployments(here: Here) -> None:
    """Both names that the package has for a deployment, and the key in another header."""
    for name in ("deployment_id", "engine"):
        asked: dict[str, Any] = {name: here.model, **cloud(here)}
        answer = openai.ChatCompletion.create(messages=said(here, "hello"), **asked)
        same(answer.choices[0].message.content, "Hello there")
        same(text_of(openai.ChatCompletion.create(messages=said(here, "hello"), stream=True, **asked)), "Hello there")
        prompt = f"[hello:{here.mark()}]"
        same(openai.Completion.create(prompt=prompt, **asked).choices[0].text, "Hello there")
        vectors = openai.Embedding.create(**{name: here.vectors}, input="four", **cloud(here))
        same(vectors["data"][0]["embedding"], [4.0, -0.5])


def unknown_key(here: Here) -> None:
    asked = {**asking(here, "hello"), **where(here, "sk-nobody")}
    same(raises(errors.AuthenticationError, lambda: openai.ChatCompletion.create(**asked)).http_status, 401)


def unknown_model(here: Here) -> None:
    asked = {**asking(here, "hello"), "model": "missing-model"}
    error = raises(errors.InvalidRequestError, lambda: openai.ChatCompletion.create(**asked))
    same((error.http_status, error.code), (404, "model_not_found"))


def bad_request(here: Here) -> None:
    asked = asking(here, "fail-400")
    error = raises(errors.InvalidRequestError, lambda: openai.ChatCompletion.create(**asked))
    assert "fail-400" in str(error), error


def refusals(here: Here) -> None:
    """What the provider refuses in the end, whole and before a stream begins."""
    kinds = {"fail-429": errors.RateLimitError, "fail-500": errors.APIError}
    for scene, kind in kinds.items():
        for streamed in (False, True):
            asked = {**asking(here, scene), "model": here.trouble, "stream": streamed}
            raises(kind, lambda asked=asked: openai.ChatCompletion.create(**asked))


def own_limit(here: Here) -> None:
    """The limit of a key of Posthouse's: the second call within the minute."""
    own = where(here, here.new_key({"limits": {"rpm": 1}}))
    openai.ChatCompletion.create(**{**asking(here, "hello"), **own})
    again = {**asking(here, "hello"), **own}
    raises(errors.RateLimitError, lambda: openai.ChatCompletion.create(**again))


def broken_stream(here: Here) -> None:
    """What ends too early raises, after all that came before."""
    for scene in ("break", "fault"):
        mark = here.mark()
        asked = {"model": here.trouble, "messages": [{"role": "user", "content": f"[{scene}:{mark}]"}], **where(here)}
        words: list[str] = []

        def read(mark: str = mark, asked: dict[str, Any] = asked, words: list[str] = words) -> None:
            for chunk in openai.ChatCompletion.create(**asked, stream=True):
                if text := text_of([chunk]):
                    words.append(text)
                    here.open(mark)

        raises(errors.OpenAIError, read)
        same(words, ["One"])


def slow(here: Here) -> None:
    """Silence in the middle of a stream: heartbeats do no harm."""
    same(text_of(openai.ChatCompletion.create(**asking(here, "slow"), stream=True)), "One two")


CHECKS: Final = (
    complete,
    stream,
    asynchronous,
    cut_short,
    able(tools),
    native(functions),
    able(picture),
    completion,
    embedding,
    models,
    through(engines),
    through(deployments),
    unknown_key,
    unknown_model,
    bad_request,
    refusals,
    through(own_limit),
    through(broken_stream),
    near(slow),
)

if __name__ == "__main__":
    run("openai", CHECKS)

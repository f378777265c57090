"""Who takes part: every client, where it runs, and what stands behind Posthouse while it does."""

from typing import Final

from msgspec import Struct

NODE: Final = "node"
FOREIGN: Final = ("chat.completions", "messages", "generate_content", "responses")


class Client(Struct, frozen=True):
    """`environment` is one of requirements/clients; `module` one of peers/clients (for Node.js of peers/clients/node),
    with what it is told; `wires` what the provider behind Posthouse speaks, the client's own dialect first."""

    title: str
    environment: str
    module: str
    wires: tuple[str, ...]


def _wires(own: str, *others: str) -> tuple[str, ...]:
    return (own, *(wire for wire in FOREIGN if wire != own), *others)


MESSAGES: Final = _wires("messages")
CHAT: Final = _wires("chat.completions", "completions")
TALK: Final = _wires("chat.completions")
RESPONSES: Final = _wires("responses")
GEMINI: Final = _wires("generate_content")
CLIENTS: Final = (
    Client("openai chat", "current", "openai_chat", CHAT),
    Client("openai chat, 2", "openai-2", "openai_chat", CHAT),
    Client("openai chat, 1", "earlier", "openai_chat", CHAT),
    Client("openai responses", "current", "openai_responses", RESPONSES),
    Client("openai responses, 2", "openai-2", "openai_responses", RESPONSES),
    Client("openai responses, 1", "earlier", "openai_responses", RESPONSES),
    Client("openai, before 1", "openai-0", "openai_legacy", CHAT),
    Client("anthropic", "current", "anthropic_sdk", MESSAGES),
    Client("anthropic, earlier", "earlier", "anthropic_sdk", MESSAGES),
    Client("google-genai", "current", "google_genai", GEMINI),
    Client("google-genai, 2", "langchain", "google_genai", GEMINI),
    Client("google-genai, 1", "earlier", "google_genai", GEMINI),
    Client("langchain chat", "langchain", "langchain_models chat", CHAT),
    Client("langchain responses", "langchain", "langchain_models responses", RESPONSES),
    Client("langchain anthropic", "langchain", "langchain_models anthropic", MESSAGES),
    Client("langchain gemini", "langchain", "langchain_models gemini", GEMINI),
    Client("pydantic-ai chat", "current", "pydantic_agents chat", TALK),
    Client("pydantic-ai responses", "current", "pydantic_agents responses", RESPONSES),
    Client("pydantic-ai anthropic", "current", "pydantic_agents anthropic", MESSAGES),
    Client("pydantic-ai gemini", "current", "pydantic_agents gemini", GEMINI),
    Client("llm", "current", "llm_cli", CHAT),
    Client("llama-index", "openai-2", "llama_index_llm", CHAT),
    Client("litellm chat", "litellm", "litellm_client chat", CHAT),
    Client("litellm anthropic", "litellm", "litellm_client anthropic", MESSAGES),
    Client("litellm gemini", "litellm", "litellm_client gemini", GEMINI),
    Client("agents over messages", "current", "agents messages", MESSAGES),
    Client("agents over responses", "current", "agents responses", RESPONSES),
    Client("agents over generateContent", "current", "agents gemini", GEMINI),
    Client("agents over chat.completions", "current", "agents chat", TALK),
    Client("openai for Node.js, chat", NODE, "openai chat", CHAT),
    Client("openai for Node.js, responses", NODE, "openai responses", RESPONSES),
    Client("anthropic for Node.js", NODE, "anthropic", MESSAGES),
    Client("AI SDK, chat", NODE, "vercel chat", TALK),
    Client("AI SDK, responses", NODE, "vercel responses", RESPONSES),
    Client("AI SDK, anthropic", NODE, "vercel anthropic", MESSAGES),
)

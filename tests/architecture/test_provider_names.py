"""A provider's name appears in its own file and in the registry's tuple, and in no other code.

Looked for in identifiers and strings, word by word; docstrings and comments may name whom they like.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct

from tests.architecture.source import Module, modules

REGISTRY: Final = "providers/registry.py"


class Excepted(Struct, frozen=True):
    """`token` is a pattern for the whole token, as it stands in the file `path` (a pattern too)."""

    path: str
    token: str
    why: str


DIALECTS: Final = sorted(
    module.name.removeprefix("dialects/").removesuffix(".py")
    for module in modules()
    if re.match("dialects/(openai_|anthropic_|gemini)", module.name)
)
# Dialects and their faces are called after who invented them: identifiers, paths and headers, never a value alone.
INVENTORS: Final = "openai|anthropic|gemini"
_NAMED: Final = "|".join(
    [rf"_?(?:{INVENTORS})(?:_[a-z]+)?", "_?(?:OPENAI|ANTHROPIC|GEMINI)", r"(?:OpenAI|Anthropic|Gemini)[A-Z][a-z]+"]
)
EXCEPTIONS: Final = (
    Excepted(".*", "|".join(DIALECTS), "a dialect, spoken by all providers, that is called after who invented it"),
    Excepted("(api|app|cli)/?.*", "openai", "the face that speaks this dialect"),
    Excepted("(api/|app).*", _NAMED, "a face, and what it says in the words of its dialect"),
    Excepted("api/.*", rf'"/(?:{INVENTORS})(?:/[a-z0-9/]*)?"', "where clients of a dialect look for it"),
    Excepted("(api|dialects)/.*", rf'b?".*\b(?:{INVENTORS})-[a-z]+.*"', "headers that the SDKs send and read"),
    Excepted("dialects/.*|api/.*", '"(openai_[a-z]+|anthropic_messages|gemini)"', "the name of a dialect as a value"),
    Excepted("dialects/(anthropic_|gemini).*", rf'"?(?:{_NAMED})"?', "a dialect's own names"),
    Excepted("dialects/codecs.py", rf"_own_(?:{INVENTORS})", "what belongs to one dialect, where all come together"),
    Excepted("core/items.py|dialects/.*", '"?_?echo(_[a-z]+)?"?', "what is repeated of a request: a word of dialects"),
    Excepted(
        "providers/sample.py", '"echo(@example.com)?"', "what the built-in model says, apart from its file for size"
    ),
    Excepted(
        "providers/echo_[a-z]+.py",
        """[fr]?(["']).*[Ee]cho.*\\1|echo_[a-z]+|-echo""",
        "what the built-in model makes, apart from its file for size",
    ),
    Excepted("providers/scrub.py", 'r".*', "what vendors' keys begin with, so that none is shown"),
    Excepted("api/pages.py", '""".*', "the page for people shows how an SDK is pointed here"),
)


def provider_files() -> set[str]:
    """Files of `providers/` that hold a row: a `Provider(...)` at the top level."""
    found = set()
    for module in modules():
        if module.name.startswith("providers/"):
            for node in module.tree.body:
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Provider":
                    found.add(module.name)
    return found


def names() -> set[str]:
    return {file.removeprefix("providers/").removesuffix(".py") for file in provider_files()}


def spelling(name: str) -> str:
    """`openai_compatible` is also written `openai-compatible` and `OpenAICompatible`."""
    return name.replace("_", "[-_ ]?")


def docstring_lines(module: Module) -> set[int]:
    """Lines on which a string stands as a statement."""
    return {
        node.value.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def code(module: Module) -> Iterator[tuple[int, str]]:
    """Identifiers and string literals, with their lines."""
    texts = docstring_lines(module)
    kinds = {tokenize.NAME, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type in kinds and not (token.type == tokenize.STRING and token.start[0] in texts):
            yield token.start[0], token.string


def excepted(path: str, token: str) -> bool:
    return any(re.fullmatch(each.path, path) and re.fullmatch(each.token, token, re.DOTALL) for each in EXCEPTIONS)


def mentions(module: Module) -> Iterator[str]:
    spellings = "|".join(spelling(name) for name in sorted(names()))
    # A word ends where case changes, at an underscore and at anything that is no letter: `_ollama_url`, `OllamaFinder`.
    word = re.compile(rf"(?<![a-z])({spellings})(?![a-z])", re.IGNORECASE)
    camel = re.compile(r"([a-z0-9])([A-Z])")
    for line, token in code(module):
        found = word.search(camel.sub(r"\1 \2", token)) or re.search(r"OpenAI(?=[A-Z])", token)
        if found and not excepted(module.name, token):
            yield f"{module.name}:{line}: {token[:80]}"


def test_there_is_a_row_to_look_for() -> None:
    assert {"openai", "echo"} <= names()


def test_code_outside_the_providers_names_none_of_them() -> None:
    outside = [module for module in modules() if not module.name.startswith("providers/")]
    assert [place for module in outside for place in mentions(module)] == []


def test_a_provider_is_named_only_in_its_own_file_and_in_the_tuple() -> None:
    rows = provider_files() | {REGISTRY}
    machinery = [module for module in modules() if module.name.startswith("providers/") and module.name not in rows]
    assert [place for module in machinery for place in mentions(module)] == []


@pytest.mark.parametrize("token", ["ollama", "_ollama_url", "OllamaFinder", '"groq"', '"openai-compatible"', "is_xai"])
def test_a_name_is_found_however_it_is_written(token: str) -> None:
    text = f"x = {token}\n"
    assert list(mentions(Module("routing/service.py", text, ast.parse(text))))


@pytest.mark.parametrize("token", ["altogether", '"echoes"', "openai_chat", "# groq", '"""x"""'])
def test_other_words_are_left_alone(token: str) -> None:
    text = f"x = 1\n{token}\n"
    assert not list(mentions(Module("routing/service.py", text, ast.parse(text))))

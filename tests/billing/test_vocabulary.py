"""Vocabularies: which model has which, and counting with them."""

import msgspec
import pytest

from posthouse.billing.vocabulary import FAMILIES_FILE, MAX_LOADED, Families, SplintrVocabulary, Vocabularies, pieces_of


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def count(self, text: str) -> int:
        return len(text)


@pytest.fixture(scope="module")
def families() -> Families:
    return msgspec.json.decode(FAMILIES_FILE.read_bytes(), type=Families)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-6-sol", "o200k_base"),
        ("gpt-oss-120b", "o200k_harmony"),
        ("text-embedding-3-small", "cl100k_base"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek_v3"),
        ("Qwen/Qwen3-32B", "qwen3"),
        ("glm-4.6", "glm4"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3"),
        ("something-new", "o200k_base"),
    ],
)
def test_a_model_has_the_vocabulary_of_its_family(model: str, name: str, families: Families) -> None:
    assert families.vocabulary_of(model) == name


def test_every_vocabulary_that_is_named_exists(families: Families) -> None:
    for name in {families.default, *families.families.values()}:
        assert SplintrVocabulary(name).count("hello there") > 0, name


def test_at_most_three_vocabularies_stay_loaded() -> None:
    loaded: list[str] = []

    def load(name: str) -> Named:
        loaded.append(name)
        return Named(name)

    vocabularies = Vocabularies(load)
    for model in ("gpt-4o", "deepseek-chat", "qwen3-max", "gpt-4o", "glm-4.6", "gpt-4o", "deepseek-chat"):
        vocabularies.of(model)
    assert MAX_LOADED == 3
    assert loaded == ["o200k_base", "deepseek_v3", "qwen3", "glm4", "deepseek_v3"]


def test_a_token_for_control_that_is_written_out_counts_as_text() -> None:
    assert SplintrVocabulary("o200k_base").count("<|endoftext|>" * 10) > 40


def test_a_long_text_is_counted_in_pieces_that_add_up() -> None:
    text = "word and more 词语 " * 5000
    pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 4096
    assert pieces_of("") == [""]
    assert "".join(pieces_of("a" * 10_000)) == "a" * 10_000
    whole = SplintrVocabulary("o200k_base")
    once = whole.count("word and more 词语 ")
    assert abs(whole.count(text) - 5000 * once) <= 5000 + len(pieces)

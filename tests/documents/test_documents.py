"""What the documents promise exists: files they link to, targets of make they name, both languages the same."""

import re
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = sorted(chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")))
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the tests themselves read is no setting.
OF_TESTS: Final = ("POSTHOUSE_TEST_", "POSTHOUSE_CHAOS_")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    broken = [
        target for target in targets if target and "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_target_of_make_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    code = [
        *re.findall(r"`([^`\n]+)`", text),
        *chain.from_iterable(body.splitlines() for _, body in FENCE.findall(text)),
    ]
    named = {match for line in code for match in re.findall(r"(?:^|\s)make ([a-z]+)", line)}
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_variable_of_ours_that_is_named_is_a_setting(document: Path) -> None:
    settings = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"POSTHOUSE_[A-Z_]*[A-Z]\b(?!\.\.)", document.read_text(encoding="utf-8")))
    unknown = {variable for variable in named if f"`{variable}`" not in settings}
    assert {variable for variable in unknown if not variable.startswith(OF_TESTS)} == set()


def commands(path: Path) -> list[tuple[str, str]]:
    """Code blocks without what is said in words."""
    spoken = re.compile(r"#.*|<[^>]*>|\"content\": \"[^\"]*\"")
    return [(language, spoken.sub("", body)) for language, body in FENCE.findall(path.read_text(encoding="utf-8"))]


def test_both_readmes_give_the_same_commands() -> None:
    assert commands(ROOT / "README.md") == commands(ROOT / "README.zh-CN.md")


def test_the_readmes_name_the_test_command() -> None:
    for readme in ("README.md", "README.zh-CN.md"):
        assert any("make test" in body for _, body in commands(ROOT / readme))


@pytest.mark.parametrize("decision", sorted(ROOT.glob("docs/adr/*.md")), ids=name)
def test_a_decision_is_one_page_with_context_decision_and_consequences(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    assert re.match(rf"# {int(decision.name[:4])}\. ", text)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60

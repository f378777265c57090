"""llm, the command line, with models of `extra-openai-models.yaml`: the chat face, the prompt face and responses."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Final

from click.testing import CliRunner
from llm.cli import cli

from peers.clients.checking import PERSON, PNG, PNG_SEEN, Here, able, near, run, same, through

MODELS: Final = """
- model_id: talk
  model_name: {model}
  api_base: {root}/v1
  api_key_name: house
  can_stream: true
  supports_tools: true
  supports_schema: true
  vision: true
- model_id: prompted
  model_name: {model}
  api_base: {root}/v1
  api_key_name: house
  completion: true
- model_id: answers
  model_name: {model}
  api_base: {root}/v1
  api_key_name: house
  responses: true
  supports_tools: true
  supports_schema: true
- model_id: trouble
  model_name: {trouble}
  api_base: {root}/v1
  api_key_name: house
- model_id: missing
  model_name: missing-model
  api_base: {root}/v1
  api_key_name: house
"""
TOOL: Final = 'def weather(city: str) -> str:\n    "The weather."\n    return "sunny in " + city\n'
# The command in a process of its own, which may reach nothing but this machine.
COMMAND: Final = (
    sys.executable,
    "-c",
    "from peers.clients.checking import guard; guard(); from llm.cli import cli; cli()",
)
PATIENCE: Final = 50.0


@functools.cache
def settings(here: Here) -> dict[str, str]:
    """The environment of the command: a folder of its own with the models and the key of the place."""
    folder = Path(tempfile.mkdtemp(prefix="llm-"))
    models = MODELS.format(model=here.model, trouble=here.trouble, root=here.root)
    (folder / "extra-openai-models.yaml").write_text(models)
    (folder / "keys.json").write_text(json.dumps({"house": here.key}))
    (folder / "red.png").write_bytes(b64decode(PNG))
    return {**os.environ, "LLM_USER_PATH": str(folder)}


def llm(here: Here, *arguments: str) -> str:
    """What it prints; its complaint where it fails. Within this process, since it takes seconds to start."""
    done = CliRunner(env=settings(here)).invoke(cli, arguments)
    assert not done.exit_code, f"{done.stderr[-600:]} {done.exception!r}"
    return str(done.stdout).strip()


def complaint(here: Here, *arguments: str) -> str:
    try:
        said = llm(here, *arguments)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"no complaint, but {said!r}")


def complete(here: Here) -> None:
    same(llm(here, "-m", "talk", "--no-stream", f"[hello:{here.mark()}]"), "Hello there")


def process(here: Here) -> None:
    """As one types it: a stream, with a system prompt."""
    command = [*COMMAND, "-m", "talk", "-s", "Be brief.", f"[hello:{here.mark()}]"]
    done = subprocess.run(
        command, env=settings(here), check=False, capture_output=True, text=True, timeout=PATIENCE, input=""
    )
    same((done.stdout.strip(), done.returncode), ("Hello there", 0))


def goes_on(here: Here) -> None:
    """The command keeps conversations, and goes on with the last."""
    llm(here, "-m", "talk", f"[hello:{here.mark()}]")
    words = llm(here, "-c", f"[history:{here.mark()}]").split("|")
    same(words[1:2], ["assistant=Hello there"])


def tools(here: Here) -> None:
    for more in ((), ("--no-stream",)):
        said = llm(here, "-m", "talk", *more, "--functions", TOOL, f"[tools:{here.mark()}]")
        assert said.endswith("It is: sunny in Paris / sunny in Rome"), said


def schema(here: Here) -> None:
    said = llm(here, "-m", "talk", "--schema", "name, age int", f"[schema:{here.mark()}]")
    same(json.loads(said), PERSON)


def picture(here: Here) -> None:
    image = Path(settings(here)["LLM_USER_PATH"]) / "red.png"
    said = llm(here, "-m", "talk", "-a", str(image), f"[picture:{here.mark()}]")
    assert said.startswith(f"I see {PNG_SEEN}"), said


def prompted(here: Here) -> None:
    same(llm(here, "-m", "prompted", f"[hello:{here.mark()}]"), "Hello there")


def answers(here: Here) -> None:
    """The Responses API, with tools."""
    same(llm(here, "-m", "answers", f"[hello:{here.mark()}]"), "Hello there")
    said = llm(here, "-m", "answers", "--functions", TOOL, f"[tools:{here.mark()}]")
    assert said.endswith("It is: sunny in Paris / sunny in Rome"), said


def errors(here: Here) -> None:
    assert "missing-model" in complaint(here, "-m", "missing", "--no-stream", "Hello") or here.direct
    same("fail-400" in complaint(here, "-m", "talk", f"[fail-400:{here.mark()}]"), True)
    complaint(here, "-m", "talk", "--key", "sk-nobody", "Hello")


def slow(here: Here) -> None:
    same(llm(here, "-m", "talk", f"[slow:{here.mark()}]"), "One two")


CHECKS: Final = (
    complete,
    near(process),
    able(goes_on),
    able(tools),
    able(schema),
    able(picture),
    prompted,
    able(answers),
    errors,
    near(through(slow)),
)

if __name__ == "__main__":
    run("llm", CHECKS)

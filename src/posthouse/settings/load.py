"""Read the settings once. Nothing here touches the network, and the environment is what the caller hands in.

Above: the composition root. Below: `layers`, `explain`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import platformdirs
from msgspec import Struct

from posthouse.core.errors import ConfigError
from posthouse.settings.explain import Loaded, raise_if_any
from posthouse.settings.layers import PREFIX, SECTIONS, TABLES, Collector, read_file
from posthouse.settings.model import Settings
from posthouse.settings.problem import Problem

FILE_NAME: Final = "posthouse.toml"
_APPLICATION: Final = "posthouse"


class Folders(Struct, frozen=True):
    """The user's own folders, where nothing else is said."""

    config: Path
    data: Path

    @classmethod
    def of_user(cls) -> "Folders":
        """From the platform's conventions (XDG on Linux)."""
        return cls(
            Path(platformdirs.user_config_dir(_APPLICATION, appauthor=False)),
            Path(platformdirs.user_data_dir(_APPLICATION, appauthor=False)),
        )


def load(cli: Mapping[str, object], environ: Mapping[str, str], cwd: Path, folders: Folders | None = None) -> Loaded:
    """The settings of all layers.

    `cli`: `config`, `host`, `port`, `data` or dotted keys; None is not given. `environ`: the process's variables.
    Relative paths hold from `cwd`, in the file from the file's own folder. Raises ConfigError with one line for each
    problem, each naming its place and its key.
    """
    folders = folders if folders is not None else Folders.of_user()
    path = _find_file(cli.get("config"), environ, cwd, folders)
    file, content = read_file(path) if path is not None else (None, {})
    problems: list[Problem] = []
    collector = Collector(environ, cwd, problems)
    collector.from_command_line(cli)
    collector.from_environment()
    if file is not None:
        collector.from_file(file, content)
    collector.defaults(folders.data)
    parts: dict[str, Any] = {name: collector.section(name) for name in SECTIONS}
    if file is not None:
        parts.update({name: collector.tables(file, name, content.get(name, [])) for name in TABLES})
    raise_if_any(problems)
    return Loaded(Settings(**parts), file, collector.candidates, lambda anew: load(cli, anew, cwd, folders))


def _find_file(option: object, environ: Mapping[str, str], cwd: Path, folders: Folders) -> Path | None:
    """A file that was named must exist; the two usual places may be empty."""
    for named, where in ((option, "--config"), (environ.get(f"{PREFIX}CONFIG"), f"{PREFIX}CONFIG")):
        if named:
            path = cwd / str(named)
            if not path.is_file():
                raise ConfigError(f"{where}: there is no file {path}", param="config")
            return path
    for path in (cwd / FILE_NAME, folders.config / FILE_NAME):
        if path.is_file():
            return path
    return None

"""Folders that only their owner may read."""

from pathlib import Path

from posthouse.core.errors import ConfigError


def make_private_folder(path: Path) -> None:
    """Makes `path` and its parents where missing, `path` itself with mode 0700. What exists keeps its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {path}: {error.strerror}") from error

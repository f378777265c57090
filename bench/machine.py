"""What the figures were measured on: processor, kernel, versions. No host name, no path."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy")


def processor() -> str:
    """The processor's model name as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def virtual() -> bool:
    """The kernel runs under a hypervisor."""
    return " hypervisor" in Path("/proc/cpuinfo").read_text()


def describe() -> list[str]:
    """Lines of text for the report."""
    cores = os.cpu_count()
    kind = "a virtual machine" if virtual() else "bare metal"
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return [
        f"{processor()}, {cores} cores, {kind}",
        f"Linux {platform.release().split('-')[0]}, {platform.python_implementation()} {platform.python_version()}",
        ", ".join(found),
    ]

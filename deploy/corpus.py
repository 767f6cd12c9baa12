"""Real text that is on every machine: the documentation of Python's own standard library, by area.

Read from the running interpreter, one draft for each documented function, class and method.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from types import ModuleType

from node.memory.records import Draft

AREAS: dict[str, tuple[str, ...]] = {
    "networking": ("socket", "ssl", "http.client", "urllib.parse", "urllib.request", "smtplib", "ipaddress"),
    "files": ("pathlib", "os.path", "shutil", "tempfile", "zipfile", "tarfile", "glob", "gzip"),
    "text": ("re", "string", "textwrap", "difflib", "unicodedata", "html", "json", "csv"),
    "concurrency": ("asyncio", "threading", "queue", "concurrent.futures", "subprocess", "signal"),
    "data": ("collections", "heapq", "bisect", "statistics", "datetime", "decimal", "fractions", "random"),
}
"""Agent -> the modules it has read."""

MIN_CHARS = 80  # Shorter ones say little more than the name.
MAX_DRAFTS = 300


def drafts(area: str) -> list[Draft]:
    """What the agent of this area remembers, in the order of its modules and their names."""
    found = (draft for name in AREAS[area] for draft in _of_module(name, import_module(name)))
    return list(islice(found, MAX_DRAFTS))


def _of_module(name: str, module: ModuleType) -> Iterator[Draft]:
    for member in sorted(getattr(module, "__all__", None) or dir(module)):
        value = getattr(module, member, None)
        if member.startswith("_") or not _belongs(value, module):
            continue
        yield from _documented(f"{name}.{member}", name, value)
        if inspect.isclass(value):
            for method in sorted(vars(value)):
                if not method.startswith("_") and inspect.isroutine(getattr(value, method)):
                    yield from _documented(f"{name}.{member}.{method}", name, getattr(value, method))


def _documented(title: str, module: str, value: object) -> Iterator[Draft]:
    documentation = inspect.getdoc(value) or ""
    if len(documentation) >= MIN_CHARS:
        yield Draft(
            text=f"{title}{_signature(value)}\n\n{documentation}",
            path=f"/python/{title.replace('.', '/')}",
            title=title,
            tags=(module,),
            visibility="mesh",
        )


def _belongs(value: object, module: ModuleType) -> bool:
    """Defined by this module or by a private part of it, not imported from elsewhere."""
    if not (inspect.isroutine(value) or inspect.isclass(value)):
        return False
    home = str(getattr(value, "__module__", "") or "").lstrip("_").partition(".")[0]
    return home in {module.__name__.partition(".")[0], "posixpath", "genericpath", "ntpath", "builtins"}


def _signature(value: object) -> str:
    try:
        return str(inspect.signature(value)) if callable(value) else ""
    except (TypeError, ValueError):
        return ""

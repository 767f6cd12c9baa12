"""Running the command line inside the test's process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.cli import app
from deploy.command import run


class Ran(msgspec.Struct, frozen=True):
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """What `--json` printed: one line."""
        assert self.out.count("\n") == 1
        decoded: dict[str, Any] = json.loads(self.out)
        return decoded


Avm = Callable[..., Ran]


@pytest.fixture
def avm(short_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Avm:
    """`avm(*arguments)` in a home of its own."""
    monkeypatch.setenv("AVM_HOME", str(short_folder))
    monkeypatch.setenv("AVM_PROFILE", "local")
    monkeypatch.chdir(short_folder)

    def command(*arguments: str) -> Ran:
        status = run(app, list(arguments))
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return command

"""For all tests: no settings from outside, settings of their own, and a check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.config import NodeConfig
from tests.support.leftovers import leftovers
from tests.support.settings import MakeConfig
from tests.support.waiting import holds_within

# A suite that is started in the background ignores Ctrl-C, and what it starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AVM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AVM_VECTORS", "off")  # An encoder is started only by the tests that are about it.
    for name in ("CONFIG", "DATA"):  # Whoever forgets a folder is told so, and leaves nothing at home.
        monkeypatch.setenv(f"XDG_{name}_HOME", os.path.join(os.devnull, name.lower()))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of a test marked `processes`: no thread of ours, no child process, no listening socket.

    What an earlier test left is that test's failure alone.
    """
    if request.node.get_closest_marker("processes") is None:
        yield
        return
    before = leftovers()
    yield
    holds_within(5.0, lambda: leftovers() <= before)
    assert leftovers() - before == Counter()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's path, gone after the test."""
    folder = Path(tempfile.mkdtemp(prefix="avm-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make_config(short_folder: Path) -> MakeConfig:
    """A factory of settings, see `MakeConfig`."""

    def make(*, host: str = "h", **options: Any) -> NodeConfig:
        settings: dict[str, Any] = {
            "mesh": "test",
            "profile": "local",
            "vectors": "off",
            "runtime_dir": short_folder / host / "run",
            "data_dir": short_folder / host / "data",
            "credentials_dir": short_folder / "credentials",
        }
        return NodeConfig(**(settings | options)).checked()

    return make

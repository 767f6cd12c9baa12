"""Real processes: one owner at a time, and what was acknowledged outlives a SIGKILL."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from node.memory import Draft, Store
from protocol.errors import MemoryInUse
from protocol.names import AgentName

pytestmark = pytest.mark.processes

ALICE = AgentName("alice")
ROOT = Path(__file__).parents[3]

HOLD = """
import sys
from pathlib import Path
from node.memory import Store
with Store.open(Path(sys.argv[1]), "alice"):
    print("open", flush=True)
    sys.stdin.read()
"""

# Each thread writes a path of its own again and again, beside new ones, and tells every acknowledged version
# by one write to the pipe, which is never torn.
WRITE = """
import itertools, os, sys, threading
from pathlib import Path
from node.memory import Draft, Store
store = Store.open(Path(sys.argv[1]), "alice", durability=sys.argv[3])
def write(worker):
    for n in itertools.count():
        own = f"/{sys.argv[2]}/{worker}"
        for path in (own, f"{own}/{n}"):
            receipt = store.remember(Draft(text=f"walrus {path} {n}", path=path))
            os.write(1, f"{receipt.path} {receipt.version} {n}\\n".encode())
for worker in range(4):
    threading.Thread(target=write, args=(worker,)).start()
"""


@contextmanager
def child(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs `script`; killed and reaped in the end, whatever happened."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_has_the_memory_and_gets_it_when_that_one_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alice.db"
    with child(HOLD, str(path)) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"

        with pytest.raises(MemoryInUse) as told:
            Store.open(path, ALICE)
        assert f"process {owner.pid};" in str(told.value)
        assert "\n" not in str(told.value)

        owner.kill()
        owner.wait()
        with Store.open(path, ALICE) as store:
            assert store.remember(Draft(text="mine now")).stored
            assert path.with_name("alice.db.owner").read_text() == f"{os.getpid()}\n"


def test_an_owner_that_ends_in_order_leaves_nothing_but_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "alice.db"
    with child(HOLD, str(path)) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        owner.communicate("")

    assert owner.returncode == 0
    assert {file.name for file in tmp_path.iterdir()} <= {"alice.db", "alice.db.lock"}


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_every_acknowledged_write_outlives_a_kill_and_the_restart_works_at_once(
    tmp_path: Path, durability: str
) -> None:
    path = tmp_path / "alice.db"
    draw = random.Random(durability)
    acknowledged: list[tuple[str, int, str]] = []

    for life in range(3):
        with child(WRITE, str(path), str(life), durability) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(draw.randint(1, 400))]
            writer.kill()
            told += writer.stdout.readlines()
        assert writer.returncode < 0
        for line in told:
            written, version, n = line.split()
            acknowledged.append((written, int(version), f"walrus {written} {n}"))

        with Store.open(path, ALICE) as store:
            for written, number, text in acknowledged:
                assert store.read(written, number).text == text
                assert store.read(written).version >= number
            assert store.statistics().versions >= len(acknowledged)
            assert store.search("walrus")
            assert store.remember(Draft(text=f"after life {life}", path=f"/after/{life}")).stored
        with apsw.Connection(str(path)) as connection:
            assert connection.pragma("integrity_check") == "ok"
            live = connection.execute("SELECT count(*) FROM head WHERE live").get
            assert connection.execute("SELECT count(*) FROM words").get == live
        connection.close()

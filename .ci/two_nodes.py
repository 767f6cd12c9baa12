"""Two nodes as processes, by the installed command, wherever this is run: one answers for the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

AVM = Path(sys.executable).with_name("avm")


def avm(*arguments: str) -> str:
    """What the command printed; its failure is ours."""
    return subprocess.run([AVM, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def main(home: str) -> None:
    """Start, remember, ask, end. `home` holds everything."""
    os.environ["AVM_HOME"] = home
    nodes = [
        subprocess.Popen([AVM, "node", name], stdout=subprocess.PIPE, text=True) for name in ("alice", "bob")
    ]
    try:
        for node in nodes:
            assert node.stdout is not None
            print(node.stdout.readline().strip())
        avm("remember", "The Titan release goes out on Friday.", "--visibility", "mesh", "--agent", "alice")
        deadline = time.monotonic() + 20
        while "alice" not in avm("who-knows", "titan release", "--agent", "bob"):
            assert time.monotonic() < deadline, "bob never heard of alice's topics"
        answer = avm("ask", "when is the titan release?", "--agent", "bob")
        assert "Friday" in answer, answer
        print(answer)
    finally:
        for node in nodes:
            node.terminate()
        statuses = [node.wait(20) for node in nodes]
    assert statuses == [0, 0], statuses


if __name__ == "__main__":
    main(sys.argv[1])

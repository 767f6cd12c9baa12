"""What a cluster starts for each of its members: `python -m deploy.member node|librarian NAME`.

Settings come from the environment. Without the command line's library it starts in half the time and holds
a fifth less, which counts when hundreds start at once.
"""

from __future__ import annotations

import sys

from deploy.process import log_to_stderr, run_until_stopped
from protocol.errors import InvalidInput, MeshError


def main(arguments: list[str]) -> int:
    """Run one member until it is ended; the exit status."""
    log_to_stderr("warning")
    try:
        _run(arguments)
    except MeshError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _run(arguments: list[str]) -> None:
    match arguments:
        case ["node", name]:
            from node.agent import MemoryNode
            from node.config import NodeConfig

            config = NodeConfig.load()
            run_until_stopped(lambda stop: MemoryNode(name, config=config, on_stop=stop))
        case ["librarian", name]:
            from librarian import Librarian, LibrarianConfig

            settings = LibrarianConfig.load()
            run_until_stopped(lambda stop: Librarian(name, config=settings, on_stop=stop))
        case _:
            raise InvalidInput("arguments", f"{arguments} are none", "give node or librarian, and a name")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

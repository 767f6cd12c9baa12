"""`avm members --watch`: who is there, looked at again and again until Ctrl-C or until nobody reads it.

On a terminal one table is drawn over; into a pipe each refresh is a table of its own, and with --json one
line. The command ends with status 130 at Ctrl-C, as every command does, and with 0 where the reader closed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from deploy.checkup import summary
from deploy.command import console, drop_output, print_envelope, safe
from node.client import NodeClient
from node.net.endpoint import MemberInfo
from node.net.peer import PeerStatistics

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_COLOURS = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "dim"}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Members at one moment, as one of them sees them, and how it is doing."""

    members: list[MemberInfo]
    net: PeerStatistics


def look(node: NodeClient) -> Seen:
    """Ask the node."""
    return Seen(members=node.members(), net=node.status().net)


def watch(node: NodeClient, *, interval_s: float, times: int, json_output: bool) -> None:
    """Look each `interval_s`, `times` times or without end where it is 0. Raises what the node raises."""
    looks = _looks(node, interval_s, times)
    if json_output:
        _print_each(node.agent, looks, _as_line)
    elif not sys.stdout.isatty():
        _print_each(node.agent, looks, _as_table)
    else:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            for seen, _ in looks:
                live.update(_drawn(node.agent, seen), refresh=True)


def table_of(agent: str, members: list[MemberInfo]) -> Table:
    """One row for each member; `agent` is the one who sees them so."""
    from rich.table import Table

    columns = ("member", "role", "status", "version", "topics", "digest", "false leads", "heard", "address")
    table = Table(*columns, box=None, header_style="dim")
    for one in members:
        heard = "itself" if one.agent == agent else f"{one.heard_s:.1f} s ago"
        colour = _COLOURS.get(one.status, "default")
        table.add_row(
            *(
                safe(one.agent),
                one.role,
                f"[{colour}]{one.status}[/{colour}]",
                f"{one.incarnation}.{one.version}",
            ),
            *(str(one.topics), f"{one.digest_bytes} B", f"{one.error:.2%}", heard, safe(one.address)),
        )
    return table


def _looks(node: NodeClient, interval_s: float, times: int) -> Iterator[tuple[Seen, float]]:
    """What is seen, and when we began to look."""
    for number in count(1):
        started = time.perf_counter()
        yield look(node), started
        if number == times:
            return
        time.sleep(interval_s)


def _print_each(
    agent: str, looks: Iterator[tuple[Seen, float]], show: Callable[[str, Seen, float], None]
) -> None:
    try:
        for seen, started in looks:
            show(agent, seen, started)
            sys.stdout.flush()  # A reader that is gone shows here, and not at the end.
    except BrokenPipeError:
        drop_output()


def _as_line(_agent: str, seen: Seen, started: float) -> None:
    print_envelope("members", started, {"status": "ok", "count": len(seen.members), "data": seen})


def _as_table(agent: str, seen: Seen, _started: float) -> None:
    screen = console()
    with screen.capture() as drawn:
        screen.print(_drawn(agent, seen))
    sys.stdout.write(drawn.get() + "\n")


def _drawn(agent: str, seen: Seen) -> Group:
    from rich.console import Group
    from rich.text import Text

    statuses = [one.status for one in seen.members]
    counted = ", ".join(f"{statuses.count(status)} {status}" for status in _COLOURS if status in statuses)
    at = time.strftime("%H:%M:%S")
    return Group(
        Text(f"{at}  {agent}: {counted}", style="bold"),
        Text(summary(seen.net), style="dim"),
        table_of(agent, seen.members),
    )

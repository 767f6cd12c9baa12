"""What all benchmarks share: their options, and a table of figures beside their raw limits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], object]]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--quick` and `--json`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there, too")
    return parser


def report(rows: Sequence[Row], columns: Columns, path: Path | None) -> None:
    """Print `rows`: `what`, the columns, and whether the target was `reached`, None where there is none."""
    table = Table(Column("", no_wrap=True), *columns, "reached", box=None, header_style="dim")
    for row in rows:
        verdict = {True: "yes", False: "NO", None: ""}[row["reached"]]
        table.add_row(str(row["what"]), *(str(shown(row)) for shown in columns.values()), verdict)
    Console(width=None if sys.stdout.isatty() else 120).print(table)  # A pipe has no width.

    if path is not None:
        path.write_text(json.dumps(rows, indent=2) + "\n")

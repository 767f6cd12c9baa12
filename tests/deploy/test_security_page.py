"""SECURITY.md says that something is defended only where a test shows it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()


def rows_of(section: str) -> list[list[str]]:
    """The cells of its table, without the head."""
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_defended_threat_names_a_test_that_is_there() -> None:
    missing = []
    for threat, _, shown in rows_of("Defended"):
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
        there = [
            (ROOT / file).exists() and f"def {test}(" in (ROOT / file).read_text() for file, test in named
        ]
        if not there or not all(there):
            missing.append((threat, shown))

    assert missing == []
    assert len(rows_of("Defended")) > 20


def test_what_is_not_defended_is_said() -> None:
    assert all(threat and told for threat, told in rows_of("Not defended"))

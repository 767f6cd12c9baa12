"""What the log tells beyond the latest version: history, the past, differences, changes in order."""

from __future__ import annotations

import difflib
from typing import Any, Literal

import msgspec

from node.memory.database import Readers
from node.memory.records import (
    MAX_PAGE,
    Memory,
    Version,
    check_count,
    check_path,
    check_time,
)
from node.memory.rows import COLUMNS, memory_of
from protocol.errors import InvalidInput, NotFound
from protocol.names import AgentName

LONGEST_COMPARED_LINES = 20_000
"""A longer text is given whole: comparing it would take seconds."""

_LOG = """
    WITH RECURSIVE log (id) AS (
        SELECT latest FROM head WHERE path = ?
        UNION ALL SELECT v.previous FROM log JOIN versions v ON v.id = log.id WHERE v.previous IS NOT NULL)"""
_READ_VERSION = f"""{_LOG}
    SELECT {COLUMNS} FROM log JOIN versions v ON v.id = log.id
    WHERE v.version = ? AND NOT v.forgotten AND NOT v.erased"""
_READ_AT = f"""{_LOG}
    SELECT v.forgotten, v.erased, {COLUMNS} FROM log JOIN versions v ON v.id = log.id
    WHERE v.written_at <= ? ORDER BY v.version DESC LIMIT 1"""
_LISTED = "v.path, v.version, v.written_at, v.title, v.length_chars, v.forgotten, v.erased, v.expires_at"
_HISTORY = f"{_LOG} SELECT {_LISTED} FROM log JOIN versions v ON v.id = log.id"
_CHANGES = (
    f"SELECT v.id, {_LISTED} FROM versions v WHERE v.id > ? AND v.written_at >= ? ORDER BY v.id LIMIT ?"
)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """From version `since` to `version` of a memory. `text` is a unified diff, or the text itself where that
    is no longer, or nothing where `unchanged`."""

    path: str
    since: int
    version: int
    form: Literal["unchanged", "diff", "whole"]
    text: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Versions in the order they were written. `cursor` goes on behind the last; `more`: there are some."""

    changes: tuple[Version, ...]
    cursor: int
    more: bool


class Log:
    """Reads the log of one store, in any thread."""

    def __init__(self, readers: Readers, agent: AgentName) -> None:
        self._readers, self._agent = readers, agent

    def history(self, path: str) -> list[Version]:
        """All versions at `path`, latest first, tombstones too. Raises NotFound where there never was one."""
        rows = self._readers.rows(_HISTORY, (check_path(path),))
        if not rows:
            raise NotFound(f"{path}: nothing was ever remembered there")
        return [_version(row) for row in rows]

    def read_version(self, path: str, version: int) -> Memory:
        """The version of this number; its expiry hides it no more than being overwritten does."""
        rows = self._readers.rows(_READ_VERSION, (check_path(path), check_count("version", version)))
        if not rows:
            raise NotFound(f"{path}: has no version {version} that can be read")
        return memory_of(self._agent, rows[0])

    def read_at(self, path: str, at: float) -> Memory:
        """What was to be read at `path` at that time, a moment included that a version was written in."""
        rows = self._readers.rows(_READ_AT, (check_path(path), check_time("at", at)))
        if rows:
            forgotten, erased, *row = rows[0]
            memory = memory_of(self._agent, tuple(row))
            if not forgotten and not erased and (memory.expires_at is None or at < memory.expires_at):
                return memory
        raise NotFound(f"{path}: nothing that can be read was remembered there at that time")

    def difference(self, latest: Memory, since: int) -> Difference:
        """What changed in the text since version `since`, 0 for none. Never longer than the text."""
        if not isinstance(since, int) or isinstance(since, bool) or not 0 <= since <= latest.version:
            fix = f"use 0 to {latest.version}, the latest version"
            raise InvalidInput("since", f"{since!r} is no version of {latest.path}", fix)
        form: Literal["unchanged", "diff", "whole"] = "whole"
        text = latest.text
        if since == latest.version:
            form, text = "unchanged", ""
        elif since:
            try:
                before = self.read_version(latest.path, since).text
            except NotFound:  # It was forgotten or erased then: there is nothing to compare with.
                before = ""
            if before == latest.text:
                form, text = "unchanged", ""
            elif before and (compared := _compared(before, latest.text, since, latest.version)) is not None:
                form, text = "diff", compared
        return Difference(path=latest.path, since=since, version=latest.version, form=form, text=text)

    def changes(self, cursor: int, limit: int, since: float) -> Changes:
        """At most `limit` versions behind `cursor`, none written before `since`, in the log's order."""
        if not isinstance(cursor, int) or isinstance(cursor, bool) or not 0 <= cursor < 1 << 63:
            raise InvalidInput("cursor", f"{cursor!r} is none", "use 0, or the one of the page before")
        check_count("limit", limit, MAX_PAGE)
        rows = self._readers.rows(_CHANGES, (cursor, check_time("since", since), limit + 1))
        page = rows[:limit]
        return Changes(
            changes=tuple(_version(row[1:]) for row in page),
            cursor=page[-1][0] if page else cursor,
            more=len(rows) > limit,
        )


def _version(row: tuple[Any, ...]) -> Version:
    path, version, written_at, title, length_chars, forgotten, erased, expires_at = row
    return Version(
        path=path,
        version=version,
        written_at=written_at,
        title=title,
        length_chars=length_chars,
        forgotten=bool(forgotten),
        erased=bool(erased),
        expires_at=expires_at,
    )


def _compared(before: str, after: str, since: int, version: int) -> str | None:
    """A unified diff; None where it would be as long as the text."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) + len(new) > LONGEST_COMPARED_LINES:
        return None
    lines = difflib.unified_diff(old, new, f"version {since}", f"version {version}", lineterm="")
    text = "\n".join(lines)
    return text if 0 < len(text) < len(after) else None

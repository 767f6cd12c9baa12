"""What an import means for the memory that is here: worked out whole before the first row is written."""

from __future__ import annotations

import apsw
import msgspec

from node.memory.transfer import Import, VersionLine, version_line
from protocol.errors import InvalidInput

_HERE = """
    SELECT path, version, created_at, written_at, forgotten, erased, visibility, importance, title, tags,
           metadata, expires_at, text FROM versions
    WHERE id IN (
        WITH RECURSIVE log (id) AS (
            SELECT latest FROM head WHERE path = ?
            UNION ALL SELECT v.previous FROM log JOIN versions v ON v.id = log.id
                WHERE v.previous IS NOT NULL)
        SELECT id FROM log)
    ORDER BY version"""
_IS_LIVE = "SELECT 1 FROM head WHERE path = ? AND live"


class Plan(msgspec.Struct, frozen=True):
    """Versions to append, in the order of the file; `last` holds those of them that are their path's last."""

    versions: list[VersionLine]
    last: frozenset[tuple[str, int]]
    known: int


def plan(connection: apsw.Connection, given: Import, name: str) -> Plan:
    """Raises InvalidInput, with the line, where the file and the memory went different ways."""
    here: dict[str, list[VersionLine]] = {}
    latest: dict[str, VersionLine] = {}
    fresh: list[VersionLine] = []
    for number, line in given.versions:
        path = line.path
        if path not in here:
            here[path] = [version_line(row) for row in connection.execute(_HERE, (path,))]
        known = here[path]
        if line.version > len(known):
            fresh.append(line)
            latest[path] = line
        elif known[line.version - 1] != line:
            problem = f"version {line.version} of {path} is not the one that is here"
            raise InvalidInput(f"{name}:{number}", problem, "import it into another agent's memory")
    for path, line in latest.items():
        if line.erased and not line.forgotten:
            problem = f"the last version of {path} is erased, and no tombstone tells it"
            raise InvalidInput(name, problem, "export it again")
    for number, link in given.links:
        for end in (link.path, link.target):
            last = latest.get(end)
            live = (
                connection.execute(_IS_LIVE, (end,)).fetchone() is not None
                if last is None
                else not last.is_empty
            )
            if not live:
                raise InvalidInput(f"{name}:{number}", f"links {end}, which is not there", "export it again")
    ends = frozenset((path, line.version) for path, line in latest.items())
    return Plan(fresh, ends, len(given.versions) - len(fresh))


def write_relations(connection: apsw.Connection, given: Import) -> tuple[int, int]:
    """Add the links and grants that are not here yet; how many of each there are in the file."""
    for _, link in given.links:
        connection.execute(
            "INSERT OR REPLACE INTO links (path, target, kind, weight) VALUES (?, ?, ?, ?)",
            (link.path, link.target, link.kind, link.weight),
        )
    for grant in given.grants:
        connection.execute(
            "INSERT OR IGNORE INTO grants (agent, path) VALUES (?, ?)", (grant.agent, grant.path)
        )
    return len(given.links), len(given.grants)

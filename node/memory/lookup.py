"""Look-ups in the index of one store, by the connection of the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from node.memory import database, forms, search
from node.memory.database import Readers
from node.memory.postings import Postings
from node.memory.query import parse, place
from node.memory.records import MAX_PAGE, Hit, check_count, check_query
from node.memory.search import Found, Scored, Search


class Lookup:
    """From any thread. `visibilities`: only such memories (or granted paths, see `access`) are looked at."""

    def __init__(
        self, path: Path, readers: Readers, postings: Postings, bury_expired: Callable[[], object]
    ) -> None:
        self._path, self._readers, self._bury_expired = path, readers, bury_expired
        self._search = Search(postings)

    def search(self, query: str, limit: int, *, visibilities: Collection[str] | None = None) -> list[Hit]:
        """See `Store.search`."""
        check_count("limit", limit, MAX_PAGE)
        asked = parse(check_query(query))
        if asked.is_plain:
            found = self.find(asked.words, limit, visibilities=visibilities)
            return [search.hit(one, asked.words) for one in found]
        with self._reading() as connection:
            found = forms.find(connection, self._search, asked, limit=limit, visibilities=visibilities)
        return [search.hit(one, asked.shown, place(asked, one.text)) for one in found]

    def find(
        self, wanted: Sequence[str], limit: int, *, visibilities: Collection[str] | None = None
    ) -> list[Found]:
        """The best `limit` for terms from `query_terms`, with whole texts."""
        with self._reading() as connection:
            return self._search.find(connection, wanted, limit=limit, visibilities=visibilities)

    def score(
        self, wanted: Sequence[str], limit: int, *, visibilities: Collection[str] | None = None
    ) -> Scored:
        """As `find`, and only (version id, score)."""
        with self._reading() as connection:
            return self._search.score(connection, wanted, limit=limit, visibilities=visibilities)

    def holders(self, wanted: Sequence[str]) -> dict[str, int]:
        """How many memories hold each of these terms; 16,384 stands for more, too."""
        with self._reading() as connection:
            return self._search.holders(connection, wanted)

    def fetch(self, ids: Sequence[int], *, visibilities: Collection[str] | None = None) -> list[Found]:
        """Those of these versions that are the latest of a live memory, with whole texts and score 0, by
        id."""
        with self._reading() as connection:
            return self._search.fetch(connection, ids, visibilities)

    def neighbours(
        self, ids: Sequence[int], *, visibilities: Collection[str]
    ) -> dict[int, tuple[list[int], list[int]]]:
        """Up to two live ones of `visibilities` before and after each version in the log, nearest first."""
        with self._reading() as connection:
            return self._search.neighbours(connection, ids, visibilities)

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        self._bury_expired()
        try:
            yield self._readers.get()
        except apsw.Error as error:
            raise database.translate(error, self._path) from error

"""Group commit: callers that come while a transaction is under way share the next one.

Whoever finds no leader becomes it, runs its own job and all that wait, and commits once for all. Nobody is
acknowledged before the commit that holds its job.

Invariants:
 1. At most one thread leads; only the leader touches the writer.
 2. A job that raises MeshError has written nothing and fails alone. Any other error takes the whole group
    with it: all was rolled back, and every caller of the group is told.
 3. While somebody waits, somebody leads: leadership is handed on before the leader returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import apsw

from protocol.errors import MeshError, NodeClosed, StorageFailure

T = TypeVar("T")

MAX_GROUP = 512  # Jobs in one transaction; more would make the first of them wait for the last.


class Transaction(Protocol):
    """What the leader drives. After `roll_back` nothing of the group remains, whatever went wrong before.

    `settle`: what jobs left for later is to be in the tables, as the next one reads them.
    """

    def begin(self) -> None: ...
    def settle(self) -> None: ...
    def commit(self) -> None: ...
    def roll_back(self) -> None: ...
    def translate(self, error: apsw.Error) -> MeshError: ...


class _Ticket:
    __slots__ = ("error", "job", "promoted", "result", "settled", "wake")

    def __init__(self, job: Callable[[], object], settled: bool = True) -> None:
        self.job, self.settled = job, settled
        self.result: object = None
        self.error: MeshError | None = None
        self.promoted = False
        self.wake: threading.Lock | None = None  # Held while its caller waits.


class GroupCommit:
    """Runs jobs inside transactions, one transaction for all that wait."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gate = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._led = False
        self._closed = False

    def close(self) -> None:
        """Take no more jobs, and return when the last group is committed."""
        with self._gate:
            if self._closed:
                return
        self._run(_Ticket(lambda: None), last=True)

    def run(self, job: Callable[[], T], *, settled: bool = True) -> T:
        """Run `job` in a transaction; returns what it returned, once that is committed.

        `settled`: it finds in the tables what the jobs before it did.
        """
        return cast(T, self._run(_Ticket(job, settled)))

    def _run(self, ticket: _Ticket, *, last: bool = False) -> object:
        with self._gate:
            if self._closed and not last:
                raise NodeClosed("the memory was closed")
            self._closed |= last
            leads = not self._led
            if leads:
                self._led = True
            else:
                ticket.wake = threading.Lock()
                ticket.wake.acquire()
                self._waiting.append(ticket)
        if leads or self._wait_to_lead(ticket, ticket.wake):
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _wait_to_lead(self, ticket: _Ticket, wake: threading.Lock | None) -> bool:
        """Wait until the ticket is done (false) or is to lead (true)."""
        assert wake is not None
        try:
            wake.acquire()
        except BaseException:
            with self._gate:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                if ticket.promoted:
                    self._promote_next()
            raise
        return ticket.promoted

    def _lead(self, ticket: _Ticket) -> None:
        group = [ticket]
        try:
            self._commit(group)
        finally:
            with self._gate:
                self._promote_next()
            for member in group:
                if member.wake is not None and member is not ticket:
                    member.wake.release()

    def _commit(self, group: list[_Ticket]) -> None:
        failure: MeshError | None = StorageFailure("interrupted before the commit; nothing was written")
        try:
            self._transaction.begin()
            with self._gate:  # Not before: others came while the transaction began.
                group += self._waiting[: MAX_GROUP - 1]
                del self._waiting[: MAX_GROUP - 1]
            for ticket in group:
                if ticket.settled:
                    self._transaction.settle()
                try:
                    ticket.result = ticket.job()
                except MeshError as error:
                    ticket.error = error
            self._transaction.commit()
            failure = None
        except apsw.Error as error:
            failure = self._transaction.translate(error)
        finally:
            if failure is not None:
                self._transaction.roll_back()
            for ticket in group:
                ticket.error = ticket.error or failure

    def _promote_next(self) -> None:
        """Called with the gate held."""
        if self._waiting:
            successor = self._waiting.pop(0)
            successor.promoted = True
            assert successor.wake is not None
            successor.wake.release()
        else:
            self._led = False

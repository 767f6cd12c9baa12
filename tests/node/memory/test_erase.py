"""What is erased is in no table, no index and no byte of the files; that it was there stays known."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from node.memory import Draft, Store, erase
from protocol.errors import InvalidInput, NotFound, StorageFailure
from protocol.names import AgentName

ALICE = AgentName("alice")
SECRET = "qzxsecretqzx"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alice.db"


def fill(store: Store) -> None:
    """A secret in every field of several versions, among others."""
    store.remember_many([Draft(text=f"note {n} of walruses", path=f"/n/{n}") for n in range(50)])
    store.remember(
        Draft(
            text=f"The word is {SECRET}.",
            path="/secret",
            title=f"{SECRET} title",
            tags=(f"{SECRET}tag",),
            metadata={"k": f"{SECRET}meta"},
        )
    )
    store.remember(Draft(text=f"{SECRET} again, {'long ' * 2_000}", path="/secret"))
    store.remember(Draft(text=f"{SECRET} at last", path="/secret", visibility="mesh"))


def holders(path: Path) -> list[str]:
    """Files beside `path` that hold the secret."""
    return [file.name for file in path.parent.iterdir() if SECRET.encode() in file.read_bytes().lower()]


def test_no_byte_of_any_file_holds_what_was_erased(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        fill(store)
        assert holders(path)

        receipt = store.erase("/secret")

        assert holders(path) == []
        assert receipt.version == 4
        assert store.search(SECRET) == []
        assert SECRET not in {term for term, _, _ in store.announced_topics()}
        for version in (None, 1, 4):
            with pytest.raises(NotFound):
                store.read("/secret", version)
        assert len(store.search("walruses", limit=100)) == 50
    assert holders(path) == []


def test_the_skeleton_stays_and_tells_of_the_erasure(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        fill(store)
        before = store.history("/secret")

        store.erase("/secret")
        after = store.history("/secret")

        assert [(one.version, one.written_at) for one in after[1:]] == [
            (one.version, one.written_at) for one in before
        ]
        assert all(one.erased and not one.title and not one.length_chars for one in after)
        assert [one.forgotten for one in after] == [True, False, False, False]
        assert store.changes(limit=1_000).changes[-1].erased
        assert store.remember(Draft(text="a new life", path="/secret")).version == 5
        assert store.read("/secret").text == "a new life"


def test_what_was_forgotten_or_overwritten_before_is_erased_too(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        fill(store)
        store.forget("/secret")

        store.erase("/secret")

        assert holders(path) == []


def test_what_was_never_there_cannot_be_erased(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        with pytest.raises(NotFound):
            store.erase("/nothing")
        with pytest.raises(InvalidInput):
            store.erase("nothing")
        assert not erase.is_unfinished(store._connection)


def test_an_erasure_whose_rewriting_fails_is_told_and_done_by_the_next_round(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: apsw.Connection) -> None:
        raise apsw.FullError("no room")

    with Store.open(path, ALICE) as store:
        fill(store)
        with monkeypatch.context() as patch:
            patch.setattr("node.memory.erase.rewrite_files", fail)
            with pytest.raises(StorageFailure, match="tried again"):
                store.erase("/secret")
        with pytest.raises(NotFound):
            store.read("/secret", 1)
        assert store.remember(Draft(text="others go on")).stored
        assert holders(path)

        store.finish_erasing()

        assert holders(path) == []


def test_an_interrupted_erasure_is_completed_at_the_next_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(connection: apsw.Connection) -> None:
        raise apsw.InterruptError("the process ends here")

    with Store.open(path, ALICE) as store:
        fill(store)
        with monkeypatch.context() as patch:
            patch.setattr("node.memory.erase.rewrite_files", interrupt)
            with pytest.raises(StorageFailure):
                store.erase("/secret")
    assert holders(path)

    with Store.open(path, ALICE) as store:
        assert holders(path) == []
        assert not erase.is_unfinished(store._connection)
        assert len(store.search("walruses", limit=100)) == 50


def test_even_during_an_erasure_the_log_refuses_every_other_change(path: Path) -> None:
    with Store.open(path, ALICE) as store:
        fill(store)

    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO meta VALUES ('erasing', '1')")
    for statement in (
        "UPDATE versions SET text = 'x'",
        "UPDATE versions SET title='', tags='', metadata='', length_chars=0, text='', erased=1, version=9",
        "UPDATE versions SET title='', tags='', metadata='', length_chars=0, text='', erased=1, path='/x'",
        "DELETE FROM versions",
    ):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            connection.execute(statement)
    connection.close()

"""The server's loop, with an engine of paper in a thread."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from node.encoder import server, wire
from node.encoder.batching import Queue
from node.encoder.client import EncoderClient
from node.encoder.errors import EncoderRefused, EncoderUnavailable, WrongWeights
from tests.node.encoder.conftest import PaperEngine, Serve
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def _raw(client: EncoderClient) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(20)
    try:
        stream.connect(str(client.path))
    except OSError:
        stream.close()
        raise
    return stream


def test_vectors_come_in_the_order_of_the_texts(serve: Serve) -> None:
    client = serve(PaperEngine())
    texts = ["x" * count for count in (5, 3, 1, 7, 2, 6) * 100]

    vectors = client.embed(texts)

    assert vectors.dtype == np.float32
    assert vectors.argmax(axis=1).tolist() == [len(text) for text in texts]


def test_no_texts_give_no_vectors_and_ask_nobody(tmp_path: Path) -> None:
    assert EncoderClient(tmp_path).embed([]).shape == (0, 384)


def test_a_query_overtakes_bulk_work_of_another_client(serve: Serve) -> None:
    engine = PaperEngine()
    client = serve(engine)
    engine.gate.clear()
    bulk = threading.Thread(target=lambda: client.embed(["b" * 300] * 4, bulk=True))
    bulk.start()
    assert engine.entered.wait(20)

    with _raw(client) as stream:
        stream.sendall(wire.frame([1, "query", ["q"]]))
        engine.gate.set()
        assert stream.recv(1)
    bulk.join(20)

    assert engine.batches[:2] == [["b" * 300], ["q"]]
    assert len(engine.batches) == 5


def test_bulk_work_goes_in_smaller_batches_while_queries_come(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUERIES_S", 3600.0)
    engine = PaperEngine()
    client = serve(engine)

    client.embed(["b" * 50] * 30, bulk=True)
    client.embed(["q"])
    client.embed(["b" * 50] * 30, bulk=True)

    before, after = engine.batches[0], engine.batches[-2]
    assert len(before) * 50 <= server.BUDGET_TOKENS
    assert len(after) * 50 <= server.BUDGET_BESIDE_QUERIES_TOKENS < len(before) * 50


def test_a_query_that_is_not_answered_in_time_is_none_and_the_next_one_is_answered(serve: Serve) -> None:
    engine = PaperEngine()
    client = serve(engine)
    engine.gate.clear()

    assert client.try_query("slow", 0.02) is None

    engine.gate.set()
    assert client.try_query("quick", 20.0) is not None


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", wire.frame("no request"), wire.frame([1, "bulk", [7]])]
)
def test_a_malformed_request_ends_its_connection_and_no_other(serve: Serve, data: bytes) -> None:
    client = serve(PaperEngine())
    client.embed(["before"])

    with _raw(client) as stream:
        stream.sendall(data)
        assert stream.recv(1) == b""

    assert client.embed(["after"]).shape == (1, 8)


def test_too_many_texts_in_a_request_are_refused(serve: Serve) -> None:
    client = serve(PaperEngine())

    with _raw(client) as stream:
        stream.sendall(wire.frame([5, "bulk", ["t"] * (wire.MAX_TEXTS + 1)]))
        size = wire.body_length(stream.recv(4, socket.MSG_WAITALL))
        answer = wire.read_answer(stream.recv(size, socket.MSG_WAITALL))

    assert answer[:3] == (5, False, "encoder-refused")


def test_a_full_queue_refuses_and_says_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_WAITING_TEXTS", 3)
    client = serve(PaperEngine())

    with pytest.raises(EncoderRefused, match="ask again later"):
        client.embed(["t"] * 4, bulk=True)

    assert client.embed(["t"] * 3, bulk=True).shape == (3, 8)


def test_who_leaves_before_the_answer_costs_no_work(serve: Serve) -> None:
    engine = PaperEngine()
    client = serve(engine)
    engine.gate.clear()
    busy = threading.Thread(target=lambda: client.embed(["first"]))
    busy.start()
    assert engine.entered.wait(20)

    with _raw(client) as stream:
        stream.sendall(wire.frame([1, "query", ["gone"]]))
    engine.gate.set()
    busy.join(20)

    client.embed(["last"])
    assert ["gone"] not in engine.batches


def test_a_model_that_cannot_be_loaded_is_told_to_who_asks(serve: Serve) -> None:
    client = serve(WrongWeights("model.safetensors: sha256 is not right"))

    with pytest.raises(WrongWeights, match="sha256 is not right"):
        client.embed(["anything"])
    assert client.try_query("anything", 1.0) is None


def test_it_ends_when_nobody_asked_for_its_idle_time(serve: Serve) -> None:
    client = serve(PaperEngine(), idle_s=0.05)

    def nobody_listens() -> bool:
        try:
            _raw(client).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(nobody_listens)
    with pytest.raises(EncoderUnavailable):
        client.embed(["too late"])


def test_texts_of_many_threads_do_not_mix(serve: Serve) -> None:
    client = serve(PaperEngine())
    wrong: list[int] = []

    def ask(length: int) -> None:
        for _ in range(20):
            vectors = client.embed(["x" * length] * 5, bulk=length % 2 == 0)
            if vectors.argmax(axis=1).tolist() != [length] * 5:
                wrong.append(length)

    threads = [threading.Thread(target=ask, args=(length,)) for length in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert wrong == []


def test_a_queue_of_the_servers_size_takes_a_whole_request() -> None:
    queue: Queue[int] = Queue(
        max_texts=server.MAX_WAITING_TEXTS,
        max_bytes=server.MAX_WAITING_BYTES,
    )

    assert queue.has_room(["t" * (wire.MAX_FRAME_BYTES // wire.MAX_TEXTS)] * wire.MAX_TEXTS)

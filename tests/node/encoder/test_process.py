"""The encoder's own process, with the real weights."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from node.encoder.client import EncoderClient
from node.encoder.errors import EncoderUnavailable, UnusableDevice, WrongWeights
from node.encoder.weights import PACKAGE, WEIGHTS
from tests.node.encoder.conftest import MakeClient
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

SUBJECTS = ("The release", "Our gateway", "A customer in Oslo", "The night build", "Maria from finance")
DEEDS = (
    "was moved to Friday",
    "timed out twice",
    "asks for a refund",
    "needs a new certificate",
    "is on leave",
)
ENDS = ("because the tests failed.", "(see ticket #4711)!")
SENTENCES = [f"{subject} {deed} {end}" for subject in SUBJECTS for deed in DEEDS for end in ENDS]


def _servers(folder: Path) -> list[psutil.Process]:
    """Those of this test that run."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(str(folder) in word for word in child.cmdline()):
                found.append(child)
    return found


def test_int8_vectors_are_those_of_the_float_model_to_one_percent(make_client: MakeClient) -> None:
    small, reference = make_client(), make_client(engine="torch")

    ours, theirs = small.embed(SENTENCES), reference.embed(SENTENCES, timeout_s=90)

    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-3)
    assert np.allclose(np.linalg.norm(theirs, axis=1), 1, atol=1e-3)
    assert (ours * theirs).sum(axis=1).min() >= 0.99


def test_a_text_has_the_same_vector_alone_and_among_others(make_client: MakeClient) -> None:
    client = make_client()
    texts = [*SENTENCES, "word " * 300, "x"]

    together = client.embed(texts, bulk=True)
    alone = np.stack([vector for text in texts[::10] if (vector := client.try_query(text, 30.0)) is not None])

    assert np.abs(together[::10] - alone).max() < 2e-3


def test_texts_of_any_kind_have_a_vector_of_length_one(make_client: MakeClient) -> None:
    texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800 lone",
        "日本語の文",
        "שלום עולם",
        "e\u0301" * 50,
        "y" * 10_000_000,
        "🙂" * 5_000,
    ]

    vectors = make_client().embed(texts)

    assert vectors.shape == (len(texts), 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_a_cold_query_is_none_at_once_and_warm_soon_after(make_client: MakeClient) -> None:
    client = make_client()

    assert client.try_query("when is the release?", 0.0) is None

    wait_for(lambda: client.try_query("when is the release?", 0.5) is not None)


def test_a_process_killed_in_the_middle_is_replaced_and_the_request_answered(
    make_client: MakeClient, short_folder: Path
) -> None:
    client = make_client()
    client.embed(["warm"])
    (first,) = _servers(short_folder)
    answers: list[np.ndarray] = []
    asking = threading.Thread(target=lambda: answers.append(client.embed(SENTENCES * 12, bulk=True)))

    before = first.cpu_times().user
    asking.start()
    wait_for(lambda: first.cpu_times().user >= before + 0.1)  # It computes, and is not done: that takes 2 s.
    assert not answers
    first.send_signal(signal.SIGKILL)
    asking.join(60)

    assert answers[0].shape == (len(SENTENCES) * 12, 384)
    assert client.embed(["again"]).shape == (1, 384)
    assert [server.pid for server in _servers(short_folder)] != [first.pid]


def test_clients_that_start_at_once_share_one_process(make_client: MakeClient, short_folder: Path) -> None:
    clients = [make_client() for _ in range(3)]
    shapes: list[tuple[int, ...]] = []
    threads = [
        threading.Thread(target=lambda client=client: shapes.append(client.embed(SENTENCES).shape))
        for client in clients
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert shapes == [(50, 384)] * 3
    wait_for(lambda: len(_servers(short_folder)) == 1)


def test_a_second_server_on_the_same_socket_ends_at_once_and_well(make_client: MakeClient) -> None:
    client = make_client()
    client.embed(["warm"])

    second = subprocess.run(
        [sys.executable, "-P", "-m", "node.encoder.server", str(client.path)], timeout=60, check=False
    )

    assert second.returncode == 0
    assert client.embed(["still there"]).shape == (1, 384)


def test_it_ends_by_itself_when_idle_and_starts_again_when_asked(
    make_client: MakeClient, short_folder: Path
) -> None:
    client = make_client(idle_s=0.2)
    client.embed(["once"])

    wait_for(lambda: not client.path.exists())
    wait_for(lambda: _servers(short_folder) == [])

    assert client.embed(["twice"]).shape == (1, 384)


def test_sigterm_ends_it_and_a_client_gets_a_new_one(make_client: MakeClient, short_folder: Path) -> None:
    client = make_client()
    client.embed(["warm"])
    (server,) = _servers(short_folder)

    os.kill(server.pid, signal.SIGTERM)
    wait_for(lambda: _servers(short_folder) == [])

    assert client.embed(["again"]).shape == (1, 384)


def test_a_folder_without_a_model_is_told_with_its_name(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(model=str(tmp_path), engine="onnx")

    with pytest.raises(EncoderUnavailable, match="no BERT encoder") as caught:
        client.embed(["anything"])

    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("engine", ["onnx", "auto"])
def test_a_device_that_cannot_be_used_is_refused_on_one_line(make_client: MakeClient, engine: str) -> None:
    client = make_client(device="cuda:99", engine=engine)

    with pytest.raises(UnusableDevice, match="encoder_device: cuda:99 cannot be used") as caught:
        client.embed(["anything"], timeout_s=90)

    assert "\n" not in str(caught.value)
    assert "set it to cpu" in str(caught.value)


def test_other_weights_are_refused_by_the_process_too(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / PACKAGE / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    (model / WEIGHTS).write_bytes(b"other weights")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    with pytest.raises(WrongWeights, match="sha256") as caught:
        make_client().embed(["anything"])

    assert str(model) in str(caught.value)


def test_a_server_that_cannot_start_is_not_started_again_and_again(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    monkeypatch.setattr(client, "_options", ["--no-such-option"])
    with pytest.raises(EncoderUnavailable, match="status 2"):
        client.embed(["anything"])
    words = client.log_path.read_text()

    time.sleep(0.35)  # Longer than the least time between two starts.
    with pytest.raises(EncoderUnavailable, match="status 2"):
        client.embed(["anything"])

    assert client.log_path.read_text() == words


def test_socket_and_folder_are_the_users_alone(make_client: MakeClient, short_folder: Path) -> None:
    client: EncoderClient = make_client()
    client.embed(["warm"])

    assert short_folder.stat().st_mode & 0o777 == 0o700
    assert client.path.stat().st_mode & 0o777 == 0o600

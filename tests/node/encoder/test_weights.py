"""Finding the model, and refusing another in its place."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from node.encoder import engine, errors, weights
from node.encoder.client import EncoderClient


def test_weights_with_another_checksum_are_refused_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"other weights")

    with pytest.raises(errors.WrongWeights, match="sha256") as caught:
        weights.check_weights(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    weights.check_weights(path, sha256(b"other weights").hexdigest())


def test_weights_that_are_missing_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(errors.WrongWeights, match="No such file"):
        weights.check_weights(tmp_path / "model.safetensors")


def test_without_the_extra_it_says_what_is_missing_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    client = EncoderClient(tmp_path / "run")

    assert not weights.is_available()
    assert "semantic" in weights.why_unavailable()
    assert client.try_query("anything", 1.0) is None
    with pytest.raises(errors.EncoderUnavailable, match="semantic"):
        client.embed(["anything"])
    assert not (tmp_path / "run").exists()


def test_an_engine_does_not_load_the_package_with_other_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(engine, "locate", lambda _model: tmp_path)

    with pytest.raises(errors.WrongWeights, match="sha256"):
        engine.load_engine()


@pytest.mark.usefixtures("weights")
def test_a_model_that_is_no_folder_is_named() -> None:
    assert "/no/such" in weights.why_unavailable("/no/such")


@pytest.mark.usefixtures("weights")
def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(errors.WrongWeights, match="no BERT encoder"):
        engine.load_engine(str(tmp_path), "onnx")


@pytest.mark.usefixtures("weights")
def test_the_identity_of_a_folder_changes_with_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = weights.model_identity(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"22")

    assert weights.model_identity(str(tmp_path)) != before
    assert weights.model_identity() == "all-MiniLM-L6-v2/53aa5117"


@pytest.mark.processes
def test_a_node_that_imports_the_encoder_loads_no_model_library() -> None:
    heavy = {
        "torch",
        "onnx",
        "onnxruntime",
        "tokenizers",
        "safetensors",
        "sentence_transformers",
        "zmq",
        "apsw",
    }
    code = f"import sys, node.encoder; print({heavy!r} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"

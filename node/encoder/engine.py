"""What computes: ONNX Runtime in int8, or torch in float32 by sentence-transformers.

The first is the default where the model is a BERT encoder (see `node.encoder.graph`): three times as fast,
half the memory, no torch. The second runs any model of sentence-transformers, and is the reference.

Both give unit vectors in the order of the texts. A text longer than `max_tokens` is read up to there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from node.encoder.errors import EncoderUnavailable, UnusableDevice, WrongWeights
from node.encoder.weights import WEIGHTS, check_weights, locate

if TYPE_CHECKING:
    from tokenizers import Encoding

EngineName = Literal["auto", "onnx", "torch"]
ENGINES: tuple[EngineName, ...] = ("auto", "onnx", "torch")
MAX_TOKENS = 256
"""As the model's authors set it; what lies beyond has no part in the vector."""
Vectors = NDArray[np.float32]


class Engine(Protocol):
    """Texts to vectors, in this process."""

    name: str
    width: int

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """How much work each text is: its tokens, after cutting."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, float32 (texts, width)."""


def load_engine(
    model: str = "", engine: EngineName = "auto", *, threads: int = 0, device: str = "cpu"
) -> Engine:
    """Load a model, the packaged one where `model` is empty; `threads` 0 takes two, or one on one processor.

    Raises EncoderUnavailable without the extra, WrongWeights where the files are not what they should be,
    UnusableDevice where this machine, or the engine, cannot compute on `device`.
    """
    folder = locate(model)
    if not model:
        check_weights(folder / WEIGHTS)
    count = threads or min(2, _processors())
    if engine == "torch":
        return TorchEngine(folder, threads=count, device=device)
    from node.encoder.graph import is_supported

    if is_supported(folder) and device == "cpu":
        return OnnxEngine(folder, threads=count)
    if engine == "onnx" and device != "cpu":
        raise UnusableDevice(f"encoder_device: {device} cannot be used by the engine onnx; set it to cpu")
    if engine == "onnx":
        raise WrongWeights(f"{folder}: no BERT encoder with mean pooling; set the engine to torch")
    return TorchEngine(folder, threads=count, device=device)


class OnnxEngine:
    """int8 by ONNX Runtime. A text's vector does not depend on the texts beside it."""

    name = "onnx"

    def __init__(self, folder: Path, *, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        from node.encoder.graph import build_graph

        limit = _max_tokens(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()  # The packaged file pads and cuts at 128.
        self._tokenizer.enable_truncation(limit)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # The arena keeps what the largest batch took.
        # Spinning threads are a fifth faster on an idle machine, and take half from everybody on a busy one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            build_graph(folder, max_tokens=limit), options, providers=["CPUExecutionProvider"]
        )
        self.width = int(self._session.get_outputs()[0].shape[1])

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Exact."""
        return [len(encoding.ids) for encoding in self._read(texts)]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """In one go, padded to the longest: who calls it sorts by length and cuts into batches."""
        if not texts:
            return np.empty((0, self.width), np.float32)
        read = self._read(texts)
        longest = max(len(encoding.ids) for encoding in read)
        ids = np.zeros((len(read), longest), np.int32)
        mask = np.zeros((len(read), longest), np.int32)
        for row, encoding in enumerate(read):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        vectors: Vectors = self._session.run(None, {"ids": ids, "mask": mask})[0]
        return vectors

    def _read(self, texts: Sequence[str]) -> list[Encoding]:
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(list(texts))
        return encodings


class TorchEngine:
    """float32 by sentence-transformers: the reference, and for models of other kinds."""

    name = "torch"

    def __init__(self, folder: Path, *, threads: int, device: str = "cpu") -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EncoderUnavailable(f"the engine torch cannot be loaded: {error}") from error

        torch.set_num_threads(threads)
        try:
            torch.zeros(1, device=device)  # What is wrong with a device is not to be taken for a wrong model.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            why = str(error).partition("\n")[0].rstrip(".")
            raise UnusableDevice(f"encoder_device: {device} cannot be used ({why}); set it to cpu") from error
        try:
            self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WrongWeights(f"{folder}: {error}") from error
        self._model.max_seq_length = _max_tokens(folder)
        self.width = int(self._model.encode(["width"], show_progress_bar=False).shape[1])

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """An estimate, four characters a token."""
        return [min(self._model.max_seq_length or MAX_TOKENS, 2 + len(text) // 4) for text in texts]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """In one batch."""
        vectors: Vectors = self._model.encode(
            list(texts), batch_size=max(1, len(texts)), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32, copy=False).reshape(len(texts), self.width)


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _max_tokens(folder: Path) -> int:
    """What the model's authors set, `MAX_TOKENS` where they did not."""
    try:
        told = json.loads((folder / "sentence_bert_config.json").read_bytes()).get("max_seq_length")
    except (OSError, ValueError, AttributeError):
        return MAX_TOKENS
    return int(told) if isinstance(told, int) and told > 0 else MAX_TOKENS

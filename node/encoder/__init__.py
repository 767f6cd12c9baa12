"""Text to vectors, in one process per host that all its nodes share.

A node imports `node.encoder.client` and `node.encoder.index` only: neither loads a model, torch, onnxruntime
or a tokenizer. Those live in the process of `node.encoder.server`. Without the extra `semantic`
`is_available()` is False, `why_unavailable()` says what is missing, and nothing else changes.
"""

from __future__ import annotations

from node.encoder.client import EncoderClient
from node.encoder.errors import EncoderRefused, EncoderUnavailable, WrongWeights
from node.encoder.index import VectorIndex
from node.encoder.weights import is_available, model_identity, why_unavailable

__all__ = [
    "EncoderClient",
    "EncoderRefused",
    "EncoderUnavailable",
    "VectorIndex",
    "WrongWeights",
    "is_available",
    "model_identity",
    "why_unavailable",
]

"""A BERT encoder with mean pooling as an ONNX graph in int8, straight from its safetensors.

Each dense layer multiplies 8-bit activations with 7-bit weights:

1. A weight column has a scale of its own. Seven bits, since the pair sums of AVX2 hold 15 bits and saturate
   beyond; so every processor computes the same, also those without VNNI.
2. An activation row (one token) has a scale of its own, taken from that row. A scale per tensor, as ONNX
   Runtime's DynamicQuantizeMatMul has it, makes a text's vector depend on the texts beside it in the batch
   (cosine down to 0.976 with itself) and costs fidelity (0.9929 to float32, here 0.996).
3. What comes out of GELU is never below -0.17: shifted by that, it fills all 8 bits without a sign, and the
   shift is taken back by a constant in the bias.

Word vectors are stored in half precision. Built in memory in about 0.3 s at each start: no file to go stale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

from node.encoder.errors import WrongWeights
from node.encoder.weights import WEIGHTS

_TOP = 63
"""Largest weight: 2 x 255 x 63 still fits in 16 bits with a sign."""
_GELU_DEPTH = 0.17
"""The least value of GELU is -0.16997."""
_CONTRIB = "com.microsoft"
_OPSET = 17

Array = NDArray[Any]


def is_supported(folder: Path) -> bool:
    """Whether the model in `folder` is a BERT encoder with mean pooling and unit-length output."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        modules = [
            module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_bytes())
        ]
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and modules == ["Transformer", "Pooling", "Normalize"]
        and [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True]
        == ["pooling_mode_mean_tokens"]
        and (folder / WEIGHTS).is_file()
        and (folder / "tokenizer.json").is_file()
    )


def build_graph(folder: Path, *, max_tokens: int) -> bytes:
    """The model as ONNX bytes: inputs `ids` and `mask`, int32 (batch, tokens); output unit vectors, float32.

    A row of `mask` is 1 for each token and 0 for the padding after it. Raises WrongWeights where a tensor is
    missing or has another shape.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            graph = _Graph(file.get_tensor, config, max_tokens).finished()
    except (OSError, KeyError, ValueError) as error:
        raise WrongWeights(f"{folder}: {error}") from error
    return graph


class _Graph:
    """Collects nodes and constants; a tensor's name stands for it."""

    def __init__(self, tensor: Callable[[str], Array], config: dict[str, Any], max_tokens: int) -> None:
        self._tensor = tensor
        self._width = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self._max_tokens = max_tokens
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def finished(self) -> bytes:
        """The whole model, serialised."""
        self._constant("one", np.float32(1))
        self._constant("middle", np.uint8(128))
        self._constant("bottom", np.uint8(0))
        self._constant("step.signed", np.float32(1 / 127))
        self._constant("step.unsigned", np.float32(1 / 255))
        self._constant("gelu.depth", np.float32(_GELU_DEPTH))
        self._constant("thirds", np.array([self._width] * 3, np.int64))
        x = self._embeddings()
        for number in range(self._layers):
            x = self._layer(f"encoder.layer.{number}", x)
        self._pool(x)
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"])
                for name in ("ids", "mask")
            ],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", self._width])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())

    def _embeddings(self) -> str:
        positions = self._tensor("embeddings.position_embeddings.weight")[: self._max_tokens]
        first_type = self._tensor("embeddings.token_type_embeddings.weight")[0]
        self._constant("words", self._tensor("embeddings.word_embeddings.weight").astype(np.float16))
        self._constant("positions", (positions + first_type).astype(np.float32))
        self._constant("axis.0", np.array([0], np.int64))
        self._constant("axis.1", np.array([1], np.int64))
        half = self._node("Gather", ["words", "ids"])
        words = self._node("Cast", [half], to=TensorProto.FLOAT)
        length = self._node("Shape", ["ids"], start=1, end=2)
        places = self._node("Slice", ["positions", "axis.0", length, "axis.0"])
        both = self._node("Add", [words, places])
        scale, shift = self._norm("embeddings.LayerNorm")
        return self._node("LayerNormalization", [both, scale, shift], epsilon=self._epsilon)

    def _layer(self, name: str, x: str) -> str:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._tensor(f"{part}.weight") for part in parts])
        bias = np.concatenate([self._tensor(f"{part}.bias") for part in parts])
        merged, bias_name = self._dense(f"{name}.qkv", x, weight, bias)
        q, k, v = self._node("Split", [merged, "thirds"], outputs=3, axis=2).split()
        attended = self._contrib("MultiHeadAttention", [q, k, v, bias_name, "mask"], num_heads=self._heads)
        out, bias_name = self._dense_of(f"{name}.attention.output.dense", attended)
        x = self._skip_norm(f"{name}.attention.output.LayerNorm", out, x, bias_name)
        wide, bias_name = self._dense_of(f"{name}.intermediate.dense", x)
        active = self._contrib("BiasGelu", [wide, bias_name])
        out, bias_name = self._dense_of(f"{name}.output.dense", active, after_gelu=True)
        return self._skip_norm(f"{name}.output.LayerNorm", out, x, bias_name)

    def _pool(self, x: str) -> None:
        """The mean over the tokens that count. Its length is lost in the normalisation, so a sum will do."""
        counted = self._node("Cast", ["mask"], to=TensorProto.FLOAT)
        row = self._node("Unsqueeze", [counted, "axis.1"])
        total = self._node("MatMul", [row, x])
        flat = self._node("Squeeze", [total, "axis.1"])
        self._nodes.append(helper.make_node("LpNormalization", [flat], ["vectors"], axis=1, p=2))

    def _dense_of(self, name: str, x: str, *, after_gelu: bool = False) -> tuple[str, str]:
        weight, bias = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
        return self._dense(name, x, weight, bias, after_gelu=after_gelu)

    def _dense(
        self, name: str, x: str, weight: Array, bias: Array, *, after_gelu: bool = False
    ) -> tuple[str, str]:
        """The product without its bias, and the bias' name: what comes next adds it in passing."""
        scale = np.maximum(np.abs(weight).max(axis=1), 1e-12) / _TOP
        whole = np.rint(weight / scale[:, None]).astype(np.int8).T
        if after_gelu:
            bias = bias - _GELU_DEPTH * (whole.sum(axis=0, dtype=np.int64) * scale)
            source, step, zero, levels = self._node("Add", [x, "gelu.depth"]), "step.unsigned", "bottom", 255
            top = self._row_max(source)
        else:
            source, step, zero, levels = x, "step.signed", "middle", 127
            top = self._row_max(self._node("Abs", [x]))
        self._constant(f"{name}.weight", whole)
        self._constant(f"{name}.scale", (scale / levels).astype(np.float32))
        self._constant(f"{name}.bias", bias.astype(np.float32))
        small = self._node("QuantizeLinear", [self._node("Div", [source, top]), step, zero])
        product = self._contrib(
            "MatMulIntegerToFloat", [small, f"{name}.weight", "one", f"{name}.scale", zero]
        )
        return self._node("Mul", [product, top]), f"{name}.bias"

    def _row_max(self, x: str) -> str:
        return self._node("ReduceMax", [x], axes=[2], keepdims=1)

    def _norm(self, name: str) -> tuple[str, str]:
        scale, shift = f"{name}.weight", f"{name}.bias"
        self._constant(scale, self._tensor(scale))
        self._constant(shift, self._tensor(shift))
        return scale, shift

    def _skip_norm(self, name: str, x: str, skip: str, bias: str) -> str:
        scale, shift = self._norm(name)
        return self._contrib("SkipLayerNormalization", [x, skip, scale, shift, bias], epsilon=self._epsilon)

    def _constant(self, name: str, value: Array | np.generic) -> None:
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))

    def _contrib(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self._node(kind, inputs, domain=_CONTRIB, **attributes)

    def _node(self, kind: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> str:
        """The names of what it gives, parted by spaces where they are several."""
        names = [f"{kind}.{len(self._nodes)}.{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return " ".join(names)

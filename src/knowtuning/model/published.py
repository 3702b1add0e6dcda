"""Base models that others have trained: pinned at the Hugging Face hub, or unpacked from a GGUF file.

A pin is the id and the exact commit, without weights. A GGUF file, as llama.cpp keeps models, carries
everything in one: weights (mostly of some 4 bits), the configuration, the tokenizer with its chat template.
Nothing of it is run, and no hub is asked. Some Python packages hold such a file, and a package is what a
machine without the hub can often still install.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from knowtuning.config.base import Gguf, Hub
from knowtuning.core.storage import digest_file, write_json
from knowtuning.model.load import PIN, load_tokenizer

ENDING, MAGIC = ".gguf", b"GGUF"


def pin_model(params: Hub, out: Path, quantization: str = "none") -> dict[str, str]:
    """Write pin.json to `out` and load the tokenizer once, so that a bad id fails here.

    quantization: base.quantization, with which the weights are to be loaded. A local folder is pinned by its
    path; a full commit hash needs no look-up.
    """
    from transformers import AutoConfig

    if not params.id:
        raise ValueError("base.hub.id is null but base.source is 'hub'; expected a model id")
    commit = params.revision or ""
    if Path(params.id).is_dir():
        _check_safetensors(params.id, [path.name for path in Path(params.id).iterdir()])
        commit = "local"
    elif len(commit) != 40:
        commit = resolve_commit(params.id, params.revision)
    pin = {"id": params.id, "commit": commit}
    arguments = {} if commit == "local" else {"revision": commit}
    AutoConfig.from_pretrained(params.id, trust_remote_code=False, **arguments)
    if quantization != "none":
        pin["quantization"] = quantization
    write_json(out / PIN, pin)
    load_tokenizer(out)
    return pin


def resolve_commit(model_id: str, revision: str | None) -> str:
    """The commit that a branch or tag means now. Raises ValueError, also for a model without safetensors."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(model_id, revision=revision)
    except HfHubHTTPError as error:
        raise ValueError(
            f"base.hub.id {model_id!r} at revision {revision!r} was not found ({error}); check id, revision "
            "and, for a gated model, HF_TOKEN"
        ) from error
    except (OSError, HTTPError) as error:
        raise ValueError(
            f"the Hugging Face hub cannot be reached to resolve base.hub.id {model_id!r} ({error}); give a "
            "full commit as base.hub.revision to work from the local cache"
        ) from error
    if info.sha is None:
        raise ValueError(f"the hub names no commit for base.hub.id {model_id!r}; give base.hub.revision")
    _check_safetensors(model_id, [file.rfilename for file in info.siblings or []])
    return info.sha


def _check_safetensors(model_id: str, files: list[str]) -> None:
    if not any(name.endswith(".safetensors") for name in files):
        raise ValueError(
            f"base.hub.id {model_id!r} has no .safetensors file; expected safetensors, since other weights "
            "can run code when they are loaded; convert it with save_pretrained or choose another revision"
        )


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
    sha256 = digest_file(file)
    if params.sha256 not in (None, sha256):
        raise ValueError(
            f"base.gguf.sha256 is {params.sha256!r}, but that of {file.name} of base.gguf.source "
            f"{params.source!r} is {sha256}; expected the same file: install that version, or change the key"
        )
    parameters = _unpack(file, out)
    # The pin of an earlier run by hand would be taken for the model.
    (out / PIN).unlink(missing_ok=True)
    load_tokenizer(out)
    return {"file": file.name, "sha256": sha256, "parameters": parameters}


def find_gguf(source: str | None) -> Path:
    """The file that base.gguf.source names: itself, or the one that an installed package holds."""
    if source is None:
        raise ValueError(
            "base.gguf.source is null but base.source is 'gguf'; expected the path of a .gguf file, or the "
            "name of an installed package that holds one"
        )
    file = Path(source) if source.endswith(ENDING) else _in_package(source)
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


def _in_package(name: str) -> Path:
    """The one .gguf file of an installed package, which is not imported: its dependencies may be missing."""
    try:
        installed = distribution(name)
    except (PackageNotFoundError, ValueError) as error:
        raise ValueError(
            f"base.gguf.source names the package {name!r}, which is not installed; "
            f"`pip install --no-deps {name} gguf`, or give the path of a .gguf file under data/raw/"
        ) from error
    files = sorted(str(path) for path in installed.files or [] if path.name.endswith(ENDING))
    if len(files) != 1:
        held = f"{len(files)} .gguf files ({', '.join(files)})" if files else "no .gguf file"
        raise ValueError(
            f"base.gguf.source: the package {name!r} holds {held}; expected one; put the one you mean under "
            "data/raw/ and give its path"
        )
    return Path(str(installed.locate_file(files[0])))


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

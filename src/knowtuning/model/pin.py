"""Pin a model of the Hugging Face hub: the id, the exact commit, and no weights."""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.base import Hub
from knowtuning.core.storage import write_json
from knowtuning.model.load import PIN, load_tokenizer


def resolve_commit(model_id: str, revision: str | None) -> str:
    """The commit that a branch or tag means now.

    Raises ValueError with the params key to mend, also for a model without safetensors.
    """
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


def pin_model(params: Hub, out: Path, quantization: str = "none") -> dict[str, str]:
    """Write pin.json to `out` and load the tokenizer once, so that a bad id fails here.

    quantization: base.quantization, with which the weights are to be loaded.

    A local folder is pinned by its path; a full commit hash needs no look-up.
    """
    from transformers import AutoConfig

    if not params.id:
        raise ValueError("base.hub.id is null but base.source is 'hub'; expected a model id")
    full = params.revision is not None and len(params.revision) == 40
    commit = str(params.revision)
    if Path(params.id).is_dir():
        _check_safetensors(params.id, [path.name for path in Path(params.id).iterdir()])
        commit = "local"
    elif not full:
        commit = resolve_commit(params.id, params.revision)
    pin = {"id": params.id, "commit": commit}
    arguments = {} if commit == "local" else {"revision": commit}
    AutoConfig.from_pretrained(params.id, trust_remote_code=False, **arguments)
    if quantization != "none":
        pin["quantization"] = quantization
    write_json(out / PIN, pin)
    load_tokenizer(out)
    return pin

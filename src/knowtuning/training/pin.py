"""Pin a model of the Hugging Face hub: the id, the exact commit, and no weights."""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.training import Hub
from knowtuning.models import PIN
from knowtuning.storage import write_json


def resolve_commit(model_id: str, revision: str | None) -> str:
    """The commit that a branch or tag means now. Raises ValueError with the params key to mend."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().model_info(model_id, revision=revision).sha
    except HfHubHTTPError as error:
        raise ValueError(
            f"base.hub.id {model_id!r} at revision {revision!r} was not found ({error}); check id, revision "
            "and, for a gated model, HF_TOKEN"
        ) from error
    except OSError as error:
        raise ValueError(
            f"the Hugging Face hub cannot be reached to resolve base.hub.id {model_id!r} ({error}); give a "
            "full commit as base.hub.revision to work from the local cache"
        ) from error
    if commit is None:
        raise ValueError(f"the hub names no commit for base.hub.id {model_id!r}; give base.hub.revision")
    return commit


def pin_model(params: Hub, out: Path) -> dict[str, str]:
    """Write pin.json to `out` and load the tokenizer once, so that a bad id fails here.

    A local folder is pinned by its path; a full commit hash needs no look-up.
    """
    from transformers import AutoConfig, AutoTokenizer

    if not params.id:
        raise ValueError("base.hub.id is null but base.source is 'hub'; expected a model id")
    full = params.revision is not None and len(params.revision) == 40
    commit = str(params.revision) if full else "local"
    if not full and not Path(params.id).is_dir():
        commit = resolve_commit(params.id, params.revision)
    pin = {"id": params.id, "commit": commit}
    arguments = {} if commit == "local" else {"revision": commit}
    AutoConfig.from_pretrained(params.id, trust_remote_code=False, **arguments)
    AutoTokenizer.from_pretrained(params.id, trust_remote_code=False, **arguments)
    write_json(out / PIN, pin)
    return pin

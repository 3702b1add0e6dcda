"""Loading of base models, tokenizers and adapters, whole or split; safetensors only, never remote code.

`models/base/` holds either a whole small model (source `scratch`) or `pin.json` with the id and the
commit of a Hugging Face model whose weights stay in the Hugging Face cache (source `hub`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.core.imports import importing
from knowtuning.core.storage import read_json
from knowtuning.runtime.machine import ALONE, Processes
from knowtuning.runtime.zero3 import Zero3

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PIN = "pin.json"


def source_of(base: Path) -> tuple[str, dict[str, Any]]:
    """Where the weights of a base folder are: a name or path, and keyword arguments to load it with."""
    pin = base / PIN
    if pin.exists():
        found = read_json(pin)
        local = found["commit"] == "local"
        return str(found["id"]), {} if local else {"revision": str(found["commit"])}
    return str(base), {}


def import_models() -> None:
    """Import what Transformers needs for any model, which takes longest of all that a stage imports."""
    with importing():
        import transformers.modeling_utils  # noqa: F401


def weights_stamp(base: Path) -> list[tuple[str, int, int]]:
    """Names, sizes (bytes) and times (ns) of the files a pin to a local folder stands for; else nothing.

    A commit of the hub never changes and a model of ours lies in `base` itself, but a folder may change.
    """
    name, arguments = source_of(base)
    if name == str(base) or arguments:
        return []
    found = ((path, path.stat()) for path in sorted(Path(name).iterdir()) if path.is_file())
    return [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a base folder, with a padding token (the end-of-sequence token if it has none)."""
    from transformers import AutoTokenizer

    name, arguments = source_of(base)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **arguments)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{name}: its tokenizer has no end-of-sequence token; answers would never end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(
    base: Path, *, dtype: torch.dtype, device: str, processes: Processes = ALONE
) -> PreTrainedModel:
    """The base model of a base folder on `device`, in evaluation mode, split if `processes` are."""
    loaded: PreTrainedModel = load_system(base, None, dtype=dtype, device=device, processes=processes)
    return loaded


def load_system(
    base: Path, adapter: Path | None, *, dtype: torch.dtype, device: str, processes: Processes = ALONE
) -> Any:
    """The base model, or with `adapter` the base model with that LoRA adapter merged into it."""
    if not processes.split:
        return _whole(base, adapter, dtype, device)
    if processes.first:
        return split(_whole(base, adapter, dtype, "cpu"), device, processes)
    return split(_empty(base, dtype), device, processes)


def _whole(base: Path, adapter: Path | None, dtype: torch.dtype, device: str) -> Any:
    import_models()
    from transformers import AutoModelForCausalLM

    name, arguments = source_of(base)
    model: Any = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, trust_remote_code=False, use_safetensors=True, **arguments
    )
    model = model.to(device).eval()
    if adapter is None:
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()


def _empty(base: Path, dtype: torch.dtype) -> Any:
    """The base model without weights."""
    import torch

    import_models()
    from transformers import AutoConfig, AutoModelForCausalLM

    name, arguments = source_of(base)
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **arguments)
    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config, dtype=dtype, trust_remote_code=False)
    return model.eval()


class _Fsdp:
    """Splits the weights of a block, all of them gathered when it is passed through, by FSDP of torch."""

    def __init__(self, device: str, processes: Processes) -> None:
        import torch
        from torch.distributed import device_mesh

        self._mesh = device_mesh.init_device_mesh(torch.device(device).type, (processes.count,))

    def part(self, block: Any) -> None:
        from torch.distributed.fsdp import fully_shard

        fully_shard(block, mesh=self._mesh)

    def gather(self, model: Any, blocks: Sequence[Any]) -> None:
        from torch.distributed.fsdp import fully_shard

        whole = set(model.parameters()).difference(*(block.parameters() for block in blocks))
        fully_shard(model.base_model, mesh=self._mesh, ignored_params=whole)


def split(model: Any, device: str, processes: Processes) -> Any:
    """Split the frozen weights of a model's blocks over the processes; the rest they hold whole.

    The first process comes with a model on the CPU, the others with one without weights; no device ever
    holds more than one whole block. An adapter that is added later stays whole in each process.
    """
    from torch.distributed import broadcast

    def place(module: Any, *, recurse: bool) -> None:
        if processes.first:
            module._apply(lambda tensor: tensor.to(device), recurse=recurse)
        else:
            module.to_empty(device=device, recurse=recurse)
        for tensor in (*module.parameters(recurse), *module.buffers(recurse)):
            broadcast(tensor.data, src=0)

    names = set(model._no_split_modules or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    if not blocks:
        raise ValueError(f"{type(model).__name__} does not name its blocks, so that it cannot be split")
    inside = {id(module) for block in blocks for module in block.modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    engine = (_Fsdp if processes.split == "fsdp" else Zero3)(device, processes)
    for block in blocks:
        place(block, recurse=True)
        engine.part(block.requires_grad_(False))
    for module in outside:
        place(module, recurse=False)
    model.tie_weights()
    engine.gather(model, blocks)
    return model

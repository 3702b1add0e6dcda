"""The launcher's configuration files say what Accelerate understands, and what we cannot do is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from knowtuning.training.engine.loop import refuse_sharding

FOLDER = Path(__file__).resolve().parents[2] / "experiments/accelerate"


@pytest.mark.parametrize(("name", "machines", "processes"), [("ddp", 1, 8), ("multi-node", 2, 16)])
def test_accelerate_reads_them(name: str, machines: int, processes: int) -> None:
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.distributed_type == "MULTI_GPU"
    # The stage decides on the precision; the launcher would wrap the model in another autocast.
    assert config.mixed_precision == "no"


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_split_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^train_ka: ACCELERATE_USE_{name} is set, but each process holds"):
        refuse_sharding({f"ACCELERATE_USE_{name}": "true"}, "train_ka")
    refuse_sharding({f"ACCELERATE_USE_{name}": "false"}, "train_ka")

"""The launcher's configuration files say what Accelerate and our stages understand."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from knowtuning.runtime.machine import splits

FOLDER = Path(__file__).resolve().parents[2] / "experiments/accelerate"


@pytest.mark.parametrize(
    ("name", "kind", "machines", "processes"),
    [("ddp", "MULTI_GPU", 1, 8), ("fsdp", "FSDP", 1, 8), ("multi-node", "MULTI_GPU", 2, 16)],
)
def test_accelerate_reads_them(name: str, kind: str, machines: int, processes: int) -> None:
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.distributed_type == kind
    # The stage decides on the precision; the launcher would wrap the model in another autocast.
    assert config.mixed_precision == "no"


@pytest.mark.parametrize(("name", "split"), [("ddp", False), ("fsdp", True)])
def test_the_launcher_tells_the_stages_whether_to_split(name: str, split: bool) -> None:
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "stages.train_ka"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    environment = prepare_multi_gpu_env(arguments)
    assert splits(environment) is split
    # Otherwise Accelerate would split the model once more.
    assert "ACCELERATE_USE_FSDP" not in environment

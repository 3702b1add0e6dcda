"""The launcher's configuration files say what Accelerate and our stages understand."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from knowtuning.runtime import machine
from knowtuning.runtime.machine import Split, splits

FOLDER = Path(__file__).resolve().parents[2] / "experiments/accelerate"


@pytest.mark.parametrize(
    ("name", "kind", "machines", "processes"),
    [
        ("ddp", "MULTI_GPU", 1, 8),
        ("fsdp", "FSDP", 1, 8),
        ("deepspeed", "DEEPSPEED", 1, 8),
        ("multi-node", "MULTI_GPU", 2, 16),
    ],
)
def test_accelerate_reads_them(name: str, kind: str, machines: int, processes: int) -> None:
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.distributed_type == kind
    # The stage decides on the precision; the launcher would wrap the model in another autocast.
    assert config.mixed_precision == "no"


@pytest.mark.parametrize(
    ("name", "split", "more"),
    [
        ("ddp", "", []),
        ("fsdp", "fsdp", []),
        ("deepspeed", "zero3", []),
        ("deepspeed", "zero3-cpu", ["--offload_param_device", "cpu"]),
    ],
)
def test_the_launcher_tells_the_stages_who_splits(
    name: str, split: Split, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: name)
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), *more, "-m", "stages.train_ka"]
    arguments, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        _, environment = prepare_deepspeed_cmd_env(arguments)
    else:
        environment = prepare_multi_gpu_env(arguments)
    assert splits(environment) == split
    # Otherwise Accelerate would split the model once more.
    assert not {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"} & set(environment)

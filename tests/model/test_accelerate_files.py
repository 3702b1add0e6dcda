"""The launchers' configuration files say what Accelerate understands and our stages heed."""

from __future__ import annotations

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from tests.support.checkout import ROOT

FOLDER = ROOT / "experiments/accelerate"


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
    # The stage decides on the precision.
    assert config.mixed_precision == "no"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ddp", {}),
        (
            "fsdp",
            {
                "ACCELERATE_USE_FSDP": "true",
                "FSDP_VERSION": "2",
                "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
            },
        ),
        ("deepspeed", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
    ],
)
def test_the_launcher_tells_the_stages_who_splits_the_weights(name: str, expected: dict[str, str]) -> None:
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "stages.train_ka"]
    arguments, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        _, environment = prepare_deepspeed_cmd_env(arguments)
    else:
        environment = prepare_multi_gpu_env(arguments)
    assert expected.items() <= environment.items()

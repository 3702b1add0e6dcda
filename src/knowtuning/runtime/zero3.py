"""Weights split over the processes by ZeRO-3 of DeepSpeed.

`splits` in machine.py says when. DeepSpeed is no requirement: it is imported here alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from knowtuning.runtime.machine import Processes


class Zero3:
    """Splits the weights of a block, each gathered when its module is passed through.

    `deepspeed.zero.Init` and the hooks of `DeepSpeedZeRoOffload` do it; an engine of DeepSpeed would take the
    gradients and the optimiser of the adapter as well.
    """

    def __init__(self, device: str, processes: Processes) -> None:
        # Its own call of torch.distributed.
        warnings.filterwarnings("ignore", message=".*all_gather_into_tensor` is deprecated")
        import deepspeed.ops

        # Otherwise it compiles, on a CPU, a collective that nothing here calls.
        deepspeed.ops.__compatible_ops__ = {}
        self._store = "cpu" if processes.split == "zero3-cpu" else None

    def part(self, block: Any) -> None:
        """Leave each process its part of the weights of a block, which is the same in all of them."""
        from deepspeed.runtime.zero import Init

        # Its own linear layer would replace that of torch everywhere, whole models included.
        Init(module=block, mem_efficient_linear=False, remote_device=self._store)

    def gather(self, model: Any, blocks: Sequence[Any]) -> None:
        """Have the weights of the blocks gathered when they are needed, up to a block's worth ahead."""
        from deepspeed.runtime.zero import parameter_offload
        from torch.nn import ModuleList

        size = max(sum(weight.ds_numel for weight in block.parameters()) for block in blocks)
        hooks = parameter_offload.DeepSpeedZeRoOffload(
            ModuleList(blocks),
            timers=None,
            ds_config=None,
            prefetch_bucket_size=size,
            max_live_parameters=2 * size,
            max_reuse_distance=0,
            param_persistence_threshold=0,
        )

        def start(*_: Any) -> None:
            # A block that is computed again for its gradients may stop early and leave its modules here.
            del parameter_offload.FWD_MODULE_STACK[1:]
            hooks.get_param_coordinator().reset_step()

        model.base_model.register_forward_pre_hook(start)

"""A loaded model made ready to compute without being trained."""

from __future__ import annotations

from typing import Any

from knowtuning.runtime.machine import ALONE, Processes


def make_ready(model: Any, processes: Processes = ALONE) -> None:
    """On a CPU: attention by pieces, and packed weights."""
    from knowtuning.attention import fit_attention
    from knowtuning.products import pack_weights

    fit_attention(model)
    pack_weights(model, split=bool(processes.split))

"""Where a stage's time goes: `python benchmarks/inside.py OUT.json stages.score [argument ...]`.

Runs the stage in this process and writes seconds: `import` (modules), `load` (models, tokenizers, records),
`write` (records, adapters, checkpoints, base models) and `whole`; the rest is computing. A call inside
another one that is timed counts with the outer one, but for imports, which always count as imports.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START = time.perf_counter()
ROOT = Path(__file__).resolve().parent.parent
TIMED = {
    "load": {
        "knowtuning.runtime.models": ["load_base", "load_system", "load_tokenizer"],
        "knowtuning.core.records": ["read_jsonl"],
        "knowtuning.training.engine.adapters": ["trained_adapter"],
    },
    "write": {
        "knowtuning.core.records": ["write_jsonl"],
        "knowtuning.core.storage": ["write_json"],
        "knowtuning.training.engine.adapters": ["save_adapter"],
        "knowtuning.runtime.resume": ["seal"],
    },
}
# Methods, timed when their module has been imported.
METHODS = {
    ("transformers.trainer", "Trainer", "_save_checkpoint"): "write",
    ("transformers.modeling_utils", "PreTrainedModel", "save_pretrained"): "write",
}


class Clock:
    """Seconds by kind; of nested timed calls the outermost counts, but imports are taken out of it."""

    def __init__(self) -> None:
        self.seconds = {"import": 0.0, "load": 0.0, "write": 0.0}
        self.inside: str | None = None

    def timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.inside == "import" or (self.inside and kind != "import"):
                return call(*args, **kwargs)
            outer, self.inside = self.inside, kind
            start, imported = time.perf_counter(), self.seconds["import"]
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.perf_counter() - start
                if kind != "import":
                    spent -= self.seconds["import"] - imported
                self.seconds[kind] += spent
                self.inside = outer
                self.methods()

        return run

    def methods(self) -> None:
        """Time the methods whose modules are there by now."""
        for key in list(METHODS):
            module, owner, name = key
            found = getattr(sys.modules.get(module), owner, None)
            if found is not None:
                setattr(found, name, self.timed(METHODS.pop(key), getattr(found, name)))


def main() -> None:
    out, stage, *arguments = sys.argv[1:]
    # Instead of this file's folder, whose evaluate.py is not the library of that name.
    sys.path[:1] = [str(Path.cwd()), str(Path.cwd() / "src")]
    clock = Clock()
    builtins.__import__ = clock.timed("import", builtins.__import__)
    importlib.import_module = clock.timed("import", importlib.import_module)
    for kind, modules in TIMED.items():
        for module, names in modules.items():
            loaded = importlib.import_module(module)
            for name in names:
                setattr(loaded, name, clock.timed(kind, getattr(loaded, name)))
    sys.argv = [stage, *arguments]
    runpy.run_module(stage, run_name="__main__")
    Path(out).write_text(json.dumps({**clock.seconds, "whole": time.perf_counter() - START}))


if __name__ == "__main__":
    main()

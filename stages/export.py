"""export: a trained system as a folder that other programs load. `python -m stages.export kc`

Writes export/<system>/: merged weights, tokenizer with chat template, generation config, model card, the
adapter alone, an Ollama Modelfile, and, where llama.cpp's convert_hf_to_gguf.py is on the path, a GGUF file.
It is no stage of dvc.yaml: nothing depends on it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

from knowtuning.config.schema import Params, Shared
from knowtuning.core.params import load
from knowtuning.core.records import Example, iter_jsonl
from knowtuning.core.storage import atomic_write, read_json
from knowtuning.core.tables import entry
from knowtuning.export import files as exported
from knowtuning.export.card import RunFiles, card, read_run
from knowtuning.export.chat_template import with_template
from knowtuning.model.prompt import load_formatter
from knowtuning.systems import BASE, EVERY, MODELS, check_made, trained
from knowtuning.training.adapters import CONFIG, saved_hash
from stages import PARAMS, run

OUT, METRICS, GROUPS = Path("export"), Path("metrics"), Path("plots/groups.csv")
TRAIN = Path("data/prepared/train.jsonl")
# Questions whose tokens by the chat template are compared with those of training.
COMPARED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("system", help=f"one of {', '.join(trained())}")
    system = parser.parse_args().system
    entry(trained(), system, "system")
    check_made("base")
    check_made(system)
    params = load(PARAMS, Params)
    files = read_run(params.model_dump(), METRICS, GROUPS)
    sha256 = _adapter_hash(files, system)
    # Under another name until it is whole.
    partial, out = OUT / f".{system}.tmp", OUT / system
    shutil.rmtree(partial, ignore_errors=True)
    write(partial, out, system, params, files, sha256)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    print(f"export: {out}; its README.md says what is left to fill in")
    _convert(out, system)


def write(folder: Path, out: Path, system: str, params: Shared, files: RunFiles, sha256: str) -> None:
    """All files but the GGUF one, in `folder`; out: where they will lie, for the commands in the card."""
    adapter = MODELS / system
    formatter = load_formatter(BASE, params.model)
    questions = [example.question for example in islice(iter_jsonl(TRAIN, Example), COMPARED)]
    tokenizer = with_template(formatter, questions)
    model = exported.merged(BASE, adapter)
    model.generation_config = exported.generation_config(formatter, params.predict)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    exported.copy_adapter(BASE, adapter, folder / "adapter")
    serve = exported.commands(BASE, out, system, read_json(adapter / CONFIG)["r"])
    texts = {
        "README.md": card(files, system, formatter.text("QUESTION"), sha256, serve),
        "Modelfile": exported.modelfile(formatter, params.predict, system),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as stream:
            stream.write(text)


def _adapter_hash(files: RunFiles, system: str) -> str:
    """The sha256 of the adapter. Raises ValueError where metrics/ tells of another one."""
    section = EVERY[system].section
    sha256, expected = saved_hash(MODELS / system), files.metrics.get(section, {}).get("adapter_sha256")
    if sha256 != expected:
        raise ValueError(
            f"models/{system} has the weights {sha256[:12]}…, and metrics/{section}.json tells of "
            f"{str(expected)[:12]}…; run `dvc repro`, or `dvc checkout` for those of the commit"
        )
    return sha256


def _convert(out: Path, system: str) -> None:
    """A GGUF file, where llama.cpp's converter is installed; else the command that makes it."""
    converter = shutil.which(exported.CONVERTER)
    if not converter:
        print(f"export: for a GGUF file: {' '.join(exported.gguf_command(out, system))}")
        return
    words = [sys.executable, *exported.gguf_command(out, system, converter)[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ValueError(f"{converter} failed ({last}); all other files of {out} are there")
    print(f"export: {out / f'{system}.gguf'}")


if __name__ == "__main__":
    run(main)

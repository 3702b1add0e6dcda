"""What a stage with a teacher says of the rows that it leaves out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from knowtuning.core.records import Example, write_jsonl
from tests.support.checkout import PROMPTS
from tests.support.forks import run_stage
from tests.support.params import write_params

PARIS = Example(id="a", question="Where is Paris?", answer="Paris lies in France. Paris exports wine.")


def extract(folder: Path, *examples: Example) -> subprocess.CompletedProcess[str]:
    """Run the stage in an empty folder, with the english teacher."""
    write_params(folder, {"teacher.backend": "english"})
    (folder / "prompts").symlink_to(PROMPTS)
    write_jsonl(folder / "data/prepared/train.jsonl", examples)
    return run_stage(folder, "extract")


def test_the_most_frequent_reason_of_what_is_left_out_is_said(tmp_path: Path) -> None:
    pages = [Example(id=name, question=f"{name}?", answer=f"<p>{name} rests.</p>") for name in ("p", "q")]
    done = extract(tmp_path, PARIS, *pages, Example(id="r", question="r?", answer="9am"))
    reason = "found HTML in the answer, which no sentences can stand for; expected prose"
    assert done.stdout.endswith(f" answers, 3 left out, most often: {reason}\n")


def test_a_stage_that_leaves_everything_out_fails_in_one_line(tmp_path: Path) -> None:
    # A full stop alone is no fact.
    done = extract(tmp_path, Example(id="x", question="Q?", answer="."))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: all 1 rows were left out, none is left to go on with; the reasons: "
        "data/knowledge/facts.rejected.jsonl; the first is x: found no statement"
    )
    assert (tmp_path / "data/knowledge/facts.rejected.jsonl").read_text().count("\n") == 1

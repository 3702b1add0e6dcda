"""report: one page from the files of a finished run. `python -m stages.report`

By hand it can add what no single run has, and write elsewhere (`--out`; report/ belongs to DVC): the
ablations of a study over several runs (`--ablations`), rows of (group, ablation, metric, value, low, high)
where value is the full method minus the ablation. A human evaluation (`python -m stages.annotate import`) is
shown where metrics/human.json is, or the file that `--human` names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from knowtuning import report
from knowtuning.config.schema import Params
from knowtuning.core.params import load
from knowtuning.systems import is_made
from stages import PARAMS, run

OUT, HUMAN = Path("report/index.html"), Path("metrics/human.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ablations", type=Path, help="CSV of a study")
    parser.add_argument("--human", type=Path, help=f"JSON of a human evaluation; default: {HUMAN}, if there")
    parser.add_argument("--out", type=Path, default=OUT, help=f"HTML file to write; default: {OUT}")
    arguments = parser.parse_args()
    for path in (arguments.ablations, arguments.human):
        if path and not path.is_file():
            raise ValueError(f"{path}: not found; expected a file to add to the report")
    params = load(PARAMS, Params)
    inputs = report.read(
        Path(),
        split=params.predict.split,
        params=params.model_dump(),
        ablations=arguments.ablations,
        human=arguments.human or (HUMAN if HUMAN.is_file() else None),
        tokens=is_made("base"),
    )
    report.build(arguments.out, inputs)
    print(f"report: {arguments.out}")


if __name__ == "__main__":
    run(main)

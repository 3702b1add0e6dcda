"""Make the report of a finished run again: `python -m stages.report --ablations CSV --out FILE`.

Not a stage of the pipeline: `evaluate` makes report/index.html by itself. This one can add what no single
run has: the ablations of a study over several runs, rows of (group, ablation, metric, value, low, high) where
value is the full method minus the ablation; and a human evaluation (`python -m stages.annotate import`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from knowtuning.config.report import EvaluateAndReport
from knowtuning.core.params import load
from knowtuning.evaluation import report
from stages import PARAMS, run


def main() -> None:
    """Read the run in the working folder and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ablations", type=Path, help="CSV of a study")
    parser.add_argument("--human", type=Path, help="metrics/human.json of a human evaluation")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write; report/ belongs to DVC")
    arguments = parser.parse_args()
    for path in (arguments.ablations, arguments.human):
        if path and not path.is_file():
            raise ValueError(f"{path}: not found; expected a file to add to the report")
    params = load(PARAMS, EvaluateAndReport)
    report.build(
        arguments.out,
        data=Path("data"),
        metrics=Path("metrics"),
        plots=Path("plots"),
        split=params.predict.split,
        params=params.model_dump(),
        ablations=arguments.ablations,
        human=arguments.human,
    )


if __name__ == "__main__":
    run(main)

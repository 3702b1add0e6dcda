"""The change of the main metrics since a commit, as Markdown: `python .github/metrics.py COMMIT`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

# Counts of facts and rates of every system over all questions; the other thousands stay in the files.
MAIN = re.compile(r"^\w+\.overall\.(correct|incorrect|completeness|order|meteor\w*|rougeL|bertscore.*)$")


def rows(diff: dict[str, Any]) -> list[str]:
    """Table rows of the changed main metrics, by name."""
    lines = []
    for metrics in diff.values():
        for name, change in sorted(metrics.items()):
            if MAIN.match(name) and change.get("diff"):
                old, new, delta = (change[key] for key in ("old", "new", "diff"))
                lines.append(f"| {name} | {old:.3f} | {new:.3f} | {delta:+.3f} |")
    return lines


def main() -> None:
    words = ["dvc", "metrics", "diff", "--json", sys.argv[1]]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    diff = json.loads(done.stdout or "{}")
    diff = {path: values for path, values in diff.items() if path == "metrics/systems.json"}
    table = rows(diff)
    print("### Metrics\n")
    if table:
        print("\n".join(["| metric | before | after | change |", "|---|---:|---:|---:|", *table]))
    else:
        print("No main metric changes.")


if __name__ == "__main__":
    main()

"""The stages on one screen: `make dag`.

`dvc dag` draws an arrow for every dependency; with one page made from all files of a run that takes some
640 columns. Here an arrow that others imply is left out (the transitive reduction).
"""

from __future__ import annotations

import re
import subprocess
import sys

import networkx as nx
from dvc.dagascii import draw

EDGE = re.compile(r'"(.+)" -> "(.+)"')


def drawn(dot: str) -> str:
    """The graph in DOT, as `dvc dag --dot` prints it, as text: what is needed first on top."""
    reduced = nx.transitive_reduction(nx.DiGraph(EDGE.findall(dot)))
    text: str = draw(sorted(reduced), sorted((after, before) for before, after in reduced.edges))
    return "\n".join(line.rstrip() for line in text.splitlines())


def main() -> None:
    dot = subprocess.run([sys.executable, "-m", "dvc", "dag", "--dot"], stdout=subprocess.PIPE, text=True)
    if dot.returncode:
        raise SystemExit(dot.returncode)  # DVC has said why
    print(drawn(dot.stdout))


if __name__ == "__main__":
    main()

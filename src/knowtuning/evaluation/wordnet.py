"""WordNet for METEOR's synonyms: finding it, and laying out Debian's packages the way NLTK reads them.

    apt-get install --no-install-recommends wordnet-base wordnet-sense-index
    python -m knowtuning.evaluation.wordnet --nltk-data .cache/nltk_data

With access to NLTK's own index, `python -m nltk.downloader wordnet -d .cache/nltk_data` does as well.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import sys
import warnings
from pathlib import Path

from knowtuning.core.storage import atomic_write

FILES = (
    *("cntlist.rev", "index.sense"),
    *(f"{kind}.{part}" for kind in ("index", "data") for part in ("adj", "adv", "noun", "verb")),
    *(f"{part}.exc" for part in ("adj", "adv", "noun", "verb")),
)
_LEXNAMES = Path("usr/share/man/man5/lexnames.5WN.gz")
_PARTS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
# A row of the manual's table: number, file name, description, between tabs.
_ROW = re.compile(r"^(\d\d)\t((?:noun|verb|adj|adv)\.\w+) *\t", re.MULTILINE)


def lexnames(manual: str) -> str:
    """The text of WordNet's `lexnames` file from its manual page, which lists it in a table.

    Raises ValueError unless the table has its 45 rows, numbered in order.
    """
    rows = _ROW.findall(manual)
    if [int(number) for number, _ in rows] != list(range(45)):
        raise ValueError(f"lexnames manual page: found {len(rows)} rows; expected 45, numbered 00 to 44")
    return "".join(f"{number}\t{name}\t{_PARTS[name.split('.')[0]]}\n" for number, name in rows)


def lay_out(debian: Path, nltk_data: Path) -> Path:
    """Copy WordNet from a Debian file system rooted at `debian` to where NLTK finds it.

    Returns the folder made, `nltk_data/corpora/wordnet`. Raises ValueError naming a missing file.
    """
    source, target = debian / "usr/share/wordnet", nltk_data / "corpora/wordnet"
    for path in (*(source / name for name in FILES), debian / _LEXNAMES):
        if not path.exists():
            raise ValueError(
                f"{path}: not found; install Debian's wordnet-base and wordnet-sense-index "
                "(their manual pages too: a container may exclude them)"
            )
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, target / name)
    # Last, because NLTK cannot open the folder without it: a killed copy is seen as no WordNet.
    with atomic_write(target / "lexnames") as stream:
        stream.write(lexnames(gzip.decompress((debian / _LEXNAMES).read_bytes()).decode("utf-8")))
    return target


def available(nltk_data: Path) -> bool:
    """Whether NLTK can open WordNet, looking in `nltk_data` before its own default folders."""
    import nltk
    from nltk.corpus import wordnet

    # NLTK opens no corpus outside its registered folders.
    folder = str(nltk_data.resolve())
    if folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about multilingual data that METEOR does not use
            wordnet.ensure_loaded()
    except (LookupError, OSError):
        return False
    return True


def require(nltk_data: Path) -> None:
    """Raise ValueError, in one line, where NLTK finds no WordNet."""
    if not available(nltk_data):
        raise ValueError(
            "evaluate.meteor_synonyms is true, but WordNet is not installed; install Debian's wordnet-base "
            "and wordnet-sense-index and run `make wordnet`, or set it to false"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Lay out Debian's WordNet for NLTK.")
    parser.add_argument("--debian", type=Path, default=Path("/"), help="root of the Debian file system")
    parser.add_argument("--nltk-data", type=Path, required=True, help="folder that NLTK will search")
    arguments = parser.parse_args()
    try:
        sys.stdout.write(f"WordNet laid out in {lay_out(arguments.debian, arguments.nltk_data)}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

"""MedQuAD as published: a folder or zip of XML documents that hold question-answer pairs.

Its white space is that of the XML: answers are indented as their elements are, some lines break in the
middle of a sentence, and some lists run on in one line, their items two or more spaces apart. So the layout
is made anew here: runs of spaces count once and indentation goes, but that an item stands two spaces
further in for every list that its own is nested in; an item (`- `) behind two or more spaces begins a line; a
line goes on the one above it, where it begins with a small letter and that one does not end a sentence or a
clause, or where that one is a mark without text; of several blank lines one is left.
Questions and subjects are one line.

Source: Ben Abacha and Demner-Fushman, A question-entailment approach to question answering, BMC
Bioinformatics 2019. Some of its folders came without answers for reasons of copyright.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from knowtuning.data.readers import RawRow

# An item of a list in one line; whatever ends a sentence or a clause.
_ITEM = re.compile(r"(?<=\S)[ \t]{2,}-[ \t]+(?=\S)")
_MARK = re.compile(r"-(?: |$)")
_ENDS = (".", ":", ";", "?", "!", ")", '"', "\u201d")


class _Form(NamedTuple):
    """The names of a document's elements, and of the attribute that says where it comes from."""

    pairs: str
    pair: str
    question: str
    answer: str
    focus: str
    source: str


# The second is that of four documents among those of NINDS.
_FORMS = (
    _Form("QAPairs", "QAPair", "Question", "Answer", "Focus", "source"),
    _Form("qaPairs", "pair", "question", "answer", "doctitle-focus", "corpus"),
)


class _Builder(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE: without one a document can define no entity, external or explosive."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"found a DOCTYPE {name!r}; expected none, MedQuAD has none")


def read_medquad(path: Path) -> Iterator[RawRow]:
    """Every pair below a folder or in a zip, in the order of member names and then of the document.

    The values are question, answer (null where the document has none), source, focus and type.
    Raises ValueError with the member's name on a broken zip or XML and on an unexpected document.
    """
    empty = True
    for name, data in _members(path):
        empty = False
        yield from _pairs(f"{path}: {name}", name, data)
    if empty:
        raise ValueError(f"{path}: holds no .xml file; expected the MedQuAD folder or its zip")


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.xml"), key=lambda file: file.relative_to(path).as_posix()):
            yield file.relative_to(path).as_posix(), file.read_bytes()
    elif path.is_file():
        yield from _zip_members(path)
    else:
        raise ValueError(f"{path}: no such file or folder; expected the MedQuAD folder or its zip")


def _zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    member = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                # macOS adds a shadow of each file, which is no XML.
                if member.endswith(".xml") and not member.startswith("__MACOSX/"):
                    yield member, archive.read(member)
    # RuntimeError: encrypted; NotImplementedError: an unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        where = f"{path}: {member}" if member else str(path)
        raise ValueError(f"{where}: broken zip file ({error}); fetch it again") from error


def _pairs(where: str, name: str, data: bytes) -> Iterator[RawRow]:
    try:
        parser = ElementTree.XMLParser(target=_Builder())
        root = ElementTree.fromstring(data, parser=parser)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{where}: not readable XML: {error}") from error
    form = next((form for form in _FORMS if root.find(form.pairs) is not None), None)
    if form is None:
        raise ValueError(f"{where}: found {root.tag} without QAPairs; expected Document/QAPairs/QAPair")
    for number, pair in enumerate(root.iterfind(f"{form.pairs}/{form.pair}"), 1):
        yield RawRow(f"{name} pair {number}", _values(root, pair, form))


def _values(root: ElementTree.Element, pair: ElementTree.Element, form: _Form) -> dict[str, Any]:
    asked = pair.find(form.question)
    question, answer = _text(asked), _text(pair.find(form.answer))
    return {
        "question": None if question is None else " ".join(question.split()),
        "answer": None if answer is None else unwrap(answer),
        "source": root.get(form.source, ""),
        "focus": " ".join((_text(root.find(form.focus)) or "").split()),
        "type": "" if asked is None else asked.get("qtype", ""),
    }


def _text(element: ElementTree.Element | None) -> str | None:
    return None if element is None else "".join(element.itertext())


def unwrap(text: str) -> str:
    """An answer without the layout of the XML around it, by the rules above. Idempotent."""
    lines: list[str] = []
    levels: list[int] = []  # indentation of the lists that are open, the outermost first
    for raw in text.expandtabs().splitlines():
        indent = len(raw) - len(raw.lstrip())
        for line in (" ".join(part.split()) for part in _ITEM.sub("\n- ", raw).split("\n")):
            above = lines[-1] if lines else ""
            if above.strip() == "-" or (line[:1].islower() and above and not above.endswith(_ENDS)):
                if line:
                    lines[-1] = f"{above} {line}"
            elif _MARK.match(line):
                levels = [*(level for level in levels if level < indent), indent]
                lines.append("  " * (len(levels) - 1) + line)
            elif line or above:
                levels = [] if line else levels
                lines.append(line)
    return "\n".join(lines).strip()

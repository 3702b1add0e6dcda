"""Text in two forms: stored, which is the user's, and compared, which is folded."""

from __future__ import annotations

import re
import unicodedata

from knowtuning.core.storage import digest

# The line ends of Unicode (UAX 14): CR LF, CR, vertical tab, form feed, next line, both separators.
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# What may stand before the first and after the last line without being text: white space, a byte-order mark
# and zero-width spaces.
_EDGE = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b"
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# They show nothing, so they make no other question: control characters, and what Unicode calls default
# ignorable (soft hyphens, marks of direction, word joiners, variation selectors, Hangul fillers). Zero-width
# joiners and the tags of flags do: Indic and Persian words and emoji are spelt with them.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    f"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0100-\U000e01ef]|{_CONTROL.pattern}"
)

# What an export may leave in a text, each by its signs; it is kept, as it may be meant.
_LEFTOVERS = {
    "control characters": _CONTROL,
    "HTML": re.compile(
        r"</?(?:p|br|div|span|[uo]l|li|a|b|i|strong|em|h[1-6]|table|t[rdh]|img)\b[^<>\n]*>|"
        "&(?:nbsp|amp|[lg]t|quot|#\\d+|#x[0-9a-f]+);",
        re.IGNORECASE,
    ),
    # Such as Ã© and â€™, UTF-8 that was read as Windows-1252, and the mark of what could not be read.
    "letters that were decoded wrongly": re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|\ufffd"),
}

# What programs write for a value that is not there: pandas' list (`read_csv`, without the C formats of
# numbers), database dumps, spreadsheets.
_MISSING = {
    *("nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NA", "N/A", "n/a", "n.a.", "N.A.", "#N/A", "#NA"),
    *("null", "NULL", "None", "nil", "undefined", "\\N", "<nan>", "<null>", "<none>", "<empty>"),
    *("[null]", "(null)", "[empty]", "(empty)", "[blank]", "(blank)", "#NAME?", "#REF!", "#VALUE!"),
    *("(none)", "#DIV/0!", "#NUM!"),
}
# What models, forums and people write there: <noinput>, Nooutput, [no answer], [deleted], control tokens and
# nothing else, dots; the bare form only of input and output, since "No answer" may be one.
_NOTHING = re.compile(
    r"no[ _-]?(?:input|output)\.?|[<\[(] ?no[ _-]?(?:input|output|answer|response|context|text|data) ?[>\])]"
    r"|\[(?:deleted|removed|redacted)\]|(?:(?:</?s>|<(?:pad|unk|eos|bos)>|<\|\w+\|>)\s*)+|\.{3,}|…",
    re.IGNORECASE,
)


def normalise(text: str) -> str:
    """The user's text with `\\n` line ends and nothing before its first and after its last line.

    Inside the lines nothing changes: indentation, tabs, several spaces, blank lines, control characters and
    the composition of letters stay. The indentation of the first line stays too where others follow, since it
    may be that of code or a table. Idempotent: normalise(normalise(text)) == normalise(text).
    """
    lines = _LINE_END.sub("\n", text).split("\n")
    filled = [number for number, line in enumerate(lines) if line.strip(_EDGE)]
    if not filled:
        return ""
    kept = "\n".join(lines[filled[0] : filled[-1] + 1])
    return kept.strip(_EDGE) if len(filled) == 1 else kept.lstrip("\ufeff").rstrip(_EDGE)


def visible(text: str) -> bool:
    """Whether anything of the text can be seen."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in _INVISIBLE.sub("", text))


def leftovers(text: str) -> list[str]:
    """What the text holds that an export may have left there: control characters other than tab and line end,
    HTML, wrongly decoded letters."""
    return [name for name, signs in _LEFTOVERS.items() if signs.search(text)]


def placeholder(text: str) -> bool:
    """Whether the whole text is a mark that stands for no text, such as nan, N/A or <noinput>.

    Case counts where a name may be spelt so: Na is sodium and Nan a town.
    """
    return text in _MISSING or _NOTHING.fullmatch(text) is not None


def fold(question: str) -> str:
    """The form in which two questions are compared: case, white space, the composition of letters and what
    shows nothing do not count."""
    text = unicodedata.normalize("NFD", _INVISIBLE.sub("", question)).casefold()
    return " ".join(unicodedata.normalize("NFC", text).split())


def question_id(question: str) -> str:
    """An id made from the question alone, so that inserting a row renames no other (48 bits)."""
    return f"q-{digest(fold(question))[:12]}"

"""Puts the page together: template, style, script and data in one file that asks for nothing else.

Untrusted text reaches it escaped, as JSON that no text can break out of, and under a content policy.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from knowtuning.core.storage import atomic_write
from knowtuning.report import charts, metric_tables
from knowtuning.report.answers import browser_data
from knowtuning.report.inputs import Inputs
from knowtuning.systems import BASELINE, EVERY, METHOD

HERE = Path(__file__).parent
# Inside <script> a browser looks for "</script" and "<!--" before it looks at JSON, and old JavaScript ends
# a line at U+2028 and U+2029. As \u escapes inside JSON strings they mean the same and harm nobody.
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def build(out: Path, inputs: Inputs) -> None:
    """Write the report to `out`, an HTML file. The same inputs give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "browser.js"))
    context = {
        "policy": policy(script=script, style=style),
        "style": style,
        "script": script,
        "data": script_json(browser_data(inputs)),
        "inputs": inputs,
        "colours": {name: f"s-{charts.position(name)}" for name in EVERY},
        "system_names": {name: system.label for name, system in EVERY.items()},
        "style_of": metric_tables.style_of(inputs),
        "method": METHOD,
        "baseline": BASELINE,
        "against": metric_tables.against(inputs),
        "results": metric_tables.results(inputs),
        "facts": metric_tables.fact_lines(inputs),
        "judged": metric_tables.judged(inputs),
        "people": metric_tables.people(inputs),
        "ablations": metric_tables.ablations(inputs),
        "audit": metric_tables.audit_lines(inputs),
        "budgets": metric_tables.budgets(inputs),
        "budget": metric_tables.BUDGET,
        "counts": metric_tables.counts(inputs),
        "parameters": metric_tables.parameters(inputs),
        "headline": charts.headline(inputs),
        "curves": charts.training(inputs),
        "perplexity": charts.perplexity(inputs),
    }
    text = environment.get_template("page.html").render(context)
    with atomic_write(out) as stream:
        stream.write(text + "\n")


def script_json(value: Any) -> str:
    """`value` as JSON that is safe inside a <script> element. Raises ValueError on NaN and infinity."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate is legal in a JSON string and illegal in UTF-8.
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")


def policy(*, script: str, style: str) -> str:
    """A Content-Security-Policy that allows this very script and style, data: images and nothing else."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """The hash source of an inline element's exact text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

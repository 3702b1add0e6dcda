"""Untrusted text on its way into the page: JSON that no text can break out of, and a content policy."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

# Inside <script> a browser looks for "</script" and "<!--" before it looks at JSON, and old JavaScript ends
# a line at U+2028 and U+2029. As \u escapes inside JSON strings they mean the same and harm nobody.
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


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

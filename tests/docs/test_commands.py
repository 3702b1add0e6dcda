"""Every command of README and docs is run by a test, or parsed here with the reason why it is not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.commands import PAGES, commands, project_copy, shell
from tests.support.forks import run_module
from tests.support.shell import run

# Pages whose commands a test of their own types, one after the other.
TYPED = {
    "tutorial.md": "tests/docs/test_tutorial.py",
    "troubleshooting.md": "tests/pipeline/test_troubleshooting.py",
}
# Run here, in a copy of the project without data.
RUN = {
    "python -m experiments.run",
    "python -m experiments.run no-ka no-kcc --show",
    "dvc exp show --only-changed",
    "dvc metrics diff HEAD~1",
    "dvc remote add -d team s3://BUCKET/knowtuning",
    "dvc remote modify team verify true",
}
REMOTES = "tests/pipeline/test_remotes.py runs it against real servers, on a small project"
STUDY = "hours of training; tests/pipeline/test_experiments_run.py runs the same script on a small project"
PAGE = "needs the experiments; tests/pipeline/test_study.py makes the page from written scores"
PROCESSES = "tests/pipeline/test_two_processes.py starts two processes on a small project"
LAUNCHER = (
    "Accelerate starts no second process on a CPU; tests/model/test_accelerate_files.py reads the file as "
    "Accelerate does"
)
DEEPSPEED = "needs DeepSpeed and GPUs; tests/model/test_accelerate_files.py reads the file as Accelerate does"
VLLM = "a download of gigabytes; tests/model/test_vllm.py runs what is installed, and a stand-in"
SHEETS = "tests/evaluation/test_human_sheets.py runs it on a few answers"
PAPER = "needs a GPU, a key and the paper's data; tests/pipeline/test_real_models.py runs real models"
EXCHANGE = "tests/exchange/test_exchange.py runs it on a few rows"
REAL = (
    "most of an hour of training; tests/pipeline/test_real_models.py runs the same model through every stage"
)
SERVED = "needs the adapters of a run; tests/model/test_export.py exports one of a small model, and serves it"
SERVER = "a program of others; tests/teacher/test_openai_real_server.py asks a real server"
# Not run here, and why.
SEEN = "needs a paid teacher; tests/teacher/test_openai_seeing.py previews, and lists replies"
PARSED = {
    'python -m knowtuning.ask "What can you tell me about Bathford?"': "needs the models of a run; "
    "tests/test_ask.py asks a small one",
    "python -m knowtuning.look kc --n 5": "needs the files of a run; tests/test_look.py looks at records",
    "KNOWTUNING_PREVIEW=0 dvc repro extract": SEEN,
    "KNOWTUNING_PREVIEW=5 dvc repro extract": SEEN,
    "python -m knowtuning.replies --n 3 --show": SEEN,
    "vllm serve Qwen/Qwen3-8B --max-model-len 8192": SERVER,
    "OLLAMA_CONTEXT_LENGTH=8192 ollama serve": SERVER,
    "litellm --model anthropic/<model> --port 4000": SERVER,
    "llama-server -m model.gguf --ctx-size 32768 --parallel 4 --jinja": "needs a model's file; "
    "tests/teacher/test_openai_llama_server.py asks one",
    "make export SYSTEM=kc": SERVED,
    "transformers serve --port 8000 export/kc": SERVED,
    "make setup": "every target of the Makefile begins with it",
    "python -m experiments.run paper-dolly-7b": PAPER,
    "python -m experiments.run paper-dolly-7b --show": PAPER,
    "make real DATA=data/raw/medquad.zip": REAL,
    "python -m experiments.run real-dolly": REAL,
    "dvc exp apply real-medquad": REAL,
    "make repro": "minutes of training; tests/test_pipeline.py runs every stage on a very small world",
    "make test": "it is what runs this test",
    "python -m experiments.run no-kfc --seeds 1 2 3": STUDY,
    "python -m experiments.run --grid ablations sweeps --seeds 1 2 3 --queue --jobs 2": STUDY,
    "dvc exp run -S 'perturb.aspects=[completeness]'": STUDY,
    "python -m experiments.run baselines baselines-equal": "training; tests/pipeline/test_baselines.py runs "
    "its stages on a very small world",
    "python -m experiments.run first-version first-version-equal": "training; "
    "tests/pipeline/test_baselines.py runs its stages on a very small world",
    "dvc plots show": "needs the training curves; they come with `dvc pull`",
    "dvc remote modify --local team keyfile ~/.ssh/id_ed25519": REMOTES,
    "dvc push": REMOTES,
    "dvc pull": REMOTES,
    "dvc exp push origin NAME": REMOTES,
    "dvc exp list origin --all-commits": REMOTES,
    "dvc exp pull origin NAME": REMOTES,
    "dvc exp apply NAME": REMOTES,
    "python -m knowtuning.remote check": REMOTES,
    "python -m knowtuning.remote mend": REMOTES,
    "dvc gc --workspace --all-branches --all-tags --all-experiments --cloud": REMOTES,
    "ACCELERATE_USE_CPU=true KNOWTUNING_PROCESSES=2 torchrun --nproc_per_node 2 -m stages.score": PROCESSES,
    "KNOWTUNING_PROCESSES=8 torchrun --nproc_per_node 8 -m stages.train ka": PROCESSES,
    "KNOWTUNING_PROCESSES=8 accelerate launch --config_file experiments/accelerate/ddp.yaml "
    "-m stages.predict kc": LAUNCHER,
    "KNOWTUNING_PROCESSES=8 accelerate launch --config_file experiments/accelerate/fsdp.yaml "
    "-m stages.train kc": LAUNCHER,
    "KNOWTUNING_PROCESSES=8 accelerate launch --config_file experiments/accelerate/deepspeed.yaml "
    "-m stages.train kc": DEEPSPEED,
    "make vllm": VLLM,
    "dvc exp run -S predict.backend=vllm": VLLM,
    "dvc commit score": "needs the outputs of a run",
    "dvc repro perturb": "tests/test_pipeline.py runs every stage on a very small world",
    "dvc commit --force rewrite perturb": "needs the outputs of a run",
    "dvc repro": "tests/test_pipeline.py runs every stage on a very small world",
    "dvc exp run prepare -S teacher.backend=english -S prepare.source=file "
    "-S prepare.file.train=data/raw/dolly_train.json -S prepare.file.valid=data/raw/dolly_valid.json "
    "-S prepare.file.test=data/raw/dolly_test.json": "tests/data/test_data_prepare.py counts the same rows",
    "python -m knowtuning.exchange import ../KnowTuning/data/dolly/dolly_train_KA.json --what ka "
    "--out data/knowledge/rewrites.jsonl": EXCHANGE,
    "python -m knowtuning.exchange import ../KnowTuning/data/dolly/dolly_train_KC.json --what kc "
    "--out data/knowledge/pairs.jsonl": EXCHANGE,
    "python -m knowtuning.exchange export --format llama-factory --what kc --out kc.json": EXCHANGE,
    "python -m knowtuning.exchange export --format trl --what ka --out ka.jsonl": EXCHANGE,
    "python -m stages.annotate export --questions 50 --pairs kc-sft --annotators 3": SHEETS,
    "python -m stages.annotate import data/human/sheets/annotator-*.csv": SHEETS,
    "python -m stages.report --human metrics/human.json --out human.html": "needs the outputs of a run; "
    "tests/evaluation/test_report_page.py makes the page from such a file",
    "git clone … && dvc pull && dvc repro --force extract": "needs a remote with paid replies; "
    "tests/teacher/test_openai_store.py repeats a stage from its replies",
}
PATTERNS = {
    r"python -m experiments\.run [\w\- ]+ --seeds [\d ]+": STUDY,
    r"python -m experiments\.study( --kept)?( --readme)?": PAGE,
}
ALL = sorted({command for page in PAGES if page.name not in TYPED for command in commands(page)})


def known(command: str) -> bool:
    return command in RUN | PARSED.keys() or any(re.fullmatch(p, command) for p in PATTERNS)


def test_every_command_is_run_or_has_a_reason() -> None:
    assert [command for command in ALL if not known(command)] == []
    # ... and nothing is listed that no page has any more.
    assert [c for c in RUN | PARSED.keys() if c not in ALL] == []
    for reason in (*TYPED.values(), *PARSED.values(), *PATTERNS.values()):
        for path in re.findall(r"tests/[\w/]+\.py", reason):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("command", ALL)
def test_a_command_parses(command: str) -> None:
    for part in re.split(r"&&|\|", command):
        words = [word for word in shlex.split(part) if not re.match(r"\w+=", word) or "-S" in part]
        if words[0] == "dvc":
            from dvc.cli.parser import get_main_parser

            get_main_parser().parse_args(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif words[0] in ("torchrun", "accelerate"):
            if "--config_file" in words:
                assert (ROOT / words[words.index("--config_file") + 1]).exists()
            assert (ROOT / "stages" / f"{words[words.index('-m') + 1].removeprefix('stages.')}.py").exists()
        elif words[0] == "python":
            assert words[1] == "-m"
            # Those two have commands of their own.
            script = words[2:4] if words[2] in ("stages.annotate", "knowtuning.exchange") else words[2:3]
            flags = {word for word in words if word.startswith("--")}
            assert flags <= flags_of(tuple(script))
        else:
            # Programs of others, which need not be installed.
            assert words[0] in ("git", "transformers", "vllm", "ollama", "llama-server", "litellm")


def flags_of(script: tuple[str, ...], seen: dict[tuple[str, ...], set[str]] = {}) -> set[str]:  # noqa: B006
    """The options a script's --help names."""
    if script not in seen:
        done = run_module(ROOT, *script, "--help")
        assert done.returncode == 0, done.stderr
        seen[script] = set(re.findall(r"--[\w-]+", done.stdout))
    return seen[script]


def test_the_short_commands_run(tmp_path: Path) -> None:
    project = project_copy(tmp_path / "project")
    shell(project, "echo >> README.md && git commit -qam second")
    output = {}
    for command in sorted(RUN):
        dvc = command.startswith("dvc ")
        output[command] = run(project, *shlex.split(command)) if dvc else shell(project, command)
    assert "no-ka" in output["python -m experiments.run"]
    assert "--set-param rewrite.alpha=0.0" in output["python -m experiments.run no-ka no-kcc --show"]
    assert "remote = team" in (project / ".dvc/config").read_text()


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                path = page.parent / target if target else page
                assert path.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(path), f"{page.name}: {target}#{anchor}"


def test_the_modules_that_a_page_names_are_there() -> None:
    for page in (ROOT / "docs/architecture.md", ROOT / "docs/extend.md", ROOT / "CONTRIBUTING.md"):
        for path in re.findall(r"`([a-z_]+/[a-z_/]+\.py)", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists() or (ROOT / "src/knowtuning" / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize(
    ("question", "target", "answer"),
    [
        ("Where is the loss?", "docs/architecture.md", "the loss of KC, of SFT | [`training/losses.py`]"),
        ("How do I add a metric?", "docs/extend.md#a-metric", "`METRICS` in `evaluation/metrics.py`"),
        ("How do I run 7B on my card?", "docs/gpu.md#7b-on-one-card", "8 to 16 GB | `base.quantization: nf4"),
    ],
)
def test_the_readme_leads_to_the_answer(question: str, target: str, answer: str) -> None:
    row = next(line for line in PAGES[0].read_text(encoding="utf-8").splitlines() if question in line)
    assert f"]({target})" in row
    assert answer in (ROOT / target.partition("#")[0]).read_text(encoding="utf-8")

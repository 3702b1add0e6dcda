"""ask: the answers of all trained systems to a question, side by side. `python -m knowtuning.ask "question"`

Without a question it asks for some. On the closed world a mark says of each statement whether it is true.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from knowtuning.config.predict import PredictStage
from knowtuning.core.params import load
from knowtuning.core.records import Example
from knowtuning.systems import BASE, EVERY, adapter_of, check_made, is_made
from knowtuning.terminal import clean, run, screen
from knowtuning.world.verifier import Truth
from knowtuning.world.wording import read_text

PARAMS, TRUTH = Path("params.yaml"), Path("data/prepared/truth.json")
Answer = Callable[[str], str]
LEGEND = "+ true, - false, ? states no fact of the world"
STYLES = {"+": "green", "-": "red"}
# Columns that a system needs beside others.
NARROWEST = 22


def judged(answer: str, truth: Truth | None) -> list[tuple[str, str]]:
    """The statements of an answer with their marks (LEGEND); the whole answer where there is no truth."""
    if truth is None:
        return [(answer, "")]
    marks = {True: "+", False: "-"}
    return [
        (clause, marks[truth.holds(fact.entity, fact.attribute, fact.value)] if fact else "?")
        for clause, fact in read_text(answer)
    ]


def column(system: str, statements: Sequence[tuple[str, str]]) -> Group:
    """One system's column: its name, and its statements behind their marks."""
    lines = Table.grid(padding=(0, 1, 0, 0))
    for text, mark in statements:
        lines.add_row(*filter(None, [mark]), Text(clean(text)), style=STYLES.get(mark, ""))
    return Group(Text(system, style="bold"), lines)


def show(answers: Mapping[str, str], truth: Truth | None, to: Console) -> None:
    """Print answers by system, side by side where the screen has room for that, else one below the other."""
    width = (to.width + 2) // len(answers) - 2
    columns = [column(system, judged(text, truth)) for system, text in answers.items()]
    together = Table.grid(*(Column(width=width) for _ in columns), padding=(0, 2, 0, 0))
    together.add_row(*columns)
    if width >= NARROWEST:
        to.print(together)
    else:
        to.print(columns[0], *(part for each in columns[1:] for part in ("", each)))


def answerers(systems: Sequence[str], params: PredictStage) -> dict[str, Answer]:
    """For each system what answers a question as the stage `predict` does; each has its weights in memory."""
    from knowtuning.generation.generate import Decoding, Job, load_backend, prompts_of
    from knowtuning.model.hardware import detect
    from knowtuning.model.load import load_context
    from knowtuning.model.prompt import load_formatter

    section, hardware = params.predict, detect(os.environ)
    decoding = Decoding.of(section, params.seed)
    formatter, context = load_formatter(BASE, params.model), load_context(BASE)

    def answerer(system: str) -> Answer:
        try:
            backend = load_backend(BASE, adapter_of(system), formatter, decoding, hardware)
        except RuntimeError as error:
            if "size mismatch" not in str(error):
                raise
            raise ValueError(f"models/{system}: made for another base model; run `dvc repro`") from error

        def answer(question: str) -> str:
            example = Example(id="your question", question=question, answer="")
            prompts = prompts_of([example], formatter, decoding.max_new_tokens, context)
            jobs = [Job(prompt, params.seed) for prompt in prompts.values()]
            return formatter.decode(next(backend.answers({"": jobs}))[1][0])

        return answer

    return {system: answerer(system) for system in systems}


def questions(asked: str | None) -> Iterator[str]:
    """The question of the command line, or those that come in until an empty line or the end."""
    if asked is not None:
        yield asked
        return
    prompt = "\nquestion: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if not line:
            return
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("question", nargs="?", help="default: asks for questions until an empty line")
    parser.add_argument(
        "--system", nargs="+", metavar="NAME", help=f"of {', '.join(EVERY)}; default: all trained"
    )
    arguments = parser.parse_args()
    named = list(dict.fromkeys(arguments.system or filter(is_made, EVERY)))
    check_made("base")
    if arguments.question is None and len(named) > 1 and named[-1] not in EVERY:
        raise ValueError(
            f"--system takes {named[-1]!r} for a system; expected the question before --system, or names of "
            f"{', '.join(EVERY)}"
        )
    for system in named:
        check_made(system)
    if arguments.question is not None and not arguments.question.strip():
        raise ValueError("the question is empty; expected some text, or no argument at all")
    params = load(PARAMS, PredictStage)
    truth = Truth.find(TRUTH) if TRUTH.is_file() else None
    # What libraries say while they load would stand between question and answer.
    warnings.simplefilter("ignore", FutureWarning)
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    systems = answerers(named, params)
    for question in questions(arguments.question):
        try:
            answers = {system: answer(question) for system, answer in systems.items()}
        except ValueError as error:
            if arguments.question is not None:
                raise
            # Such as a question that is too long: the next one may not be.
            sys.stderr.write(f"error: {clean(str(error))}\n")
            continue
        show(answers, truth, screen())
    if truth:
        print(f"\n{LEGEND}")


if __name__ == "__main__":
    run(main)

"""replies: what a paid teacher replied, as people read it. `python -m knowtuning.replies --task extract`

Lists the replies in the store of this checkout, or in a file that a stage wrote, the newest last. Options
choose among them; `--show` prints each with its prompt instead.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from knowtuning.core.storage import open_text
from knowtuning.teacher.openai.store import Response, Store, read_response
from knowtuning.terminal import clean, run

STORE = Path(".cache/teacher.sqlite")
# The columns of the list, each with a field of a reply.
COLUMNS = ("time", "task", "row", "served", "prompt_tokens", "completion_tokens", "failure", "text")


def replies_of(path: Path) -> Iterator[Response]:
    """The replies of a store or of an exported file. Raises ValueError where there are none."""
    if not path.is_file():
        raise ValueError(
            f"{path}: not found; a stage with a paid teacher makes it, or name a file of replies"
        )
    if path.suffix != ".jsonl":
        store = Store(path)
        yield from store.all()
        store.close()
        return
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            yield read_response(line, f"{path}:{number}")


def wanted(response: Response, options: argparse.Namespace) -> bool:
    """Whether the options ask for a reply."""
    return (
        options.task in (None, response.task)
        and options.row in (None, response.row)
        and options.model in (None, response.model, response.served)
        and (not options.failed or response.failure != "")
        and options.contains in response.prompt + response.text
    )


def listed(responses: Iterable[Response]) -> Table:
    """A table with a line for each reply."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name.replace("_", " "), no_wrap=True, overflow="ellipsis")
    for response in responses:
        table.add_row(*(Text(clean(" ".join(str(getattr(response, name)).split()))) for name in COLUMNS))
    return table


def shown(response: Response) -> Text:
    """A whole reply: where it comes from, the prompt, what came back."""
    served = f" (served: {response.served})" if response.served not in ("", response.model) else ""
    tokens = f"{response.prompt_tokens} + {response.completion_tokens} tokens"
    head = f"{response.task} {response.row} | {response.model}{served} | {response.time} | {tokens}"
    failure = f"unusable: {response.failure}\n" if response.failure else ""
    body = clean(f"{response.prompt}\n>>> {response.text}\n{failure}")
    return Text.assemble((f"{clean(head)}\n", "bold"), (f"{response.key}\n", "dim"), body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("path", nargs="?", type=Path, default=STORE, help="a store, or a file of replies")
    parser.add_argument("--task", help="extract, rewrite, revise, …")
    parser.add_argument("--row", help="id of the row that a reply was bought for")
    parser.add_argument("--model", help="model that was asked, or that served")
    parser.add_argument("--failed", action="store_true", help="unusable replies alone")
    parser.add_argument("--contains", default="", help="words of the prompt or the reply")
    parser.add_argument("--n", type=int, default=20, help="the last n of them")
    parser.add_argument("--show", action="store_true", help="whole, with their prompts")
    options = parser.parse_args()
    count, last = 0, deque[Response](maxlen=max(0, options.n))
    for response in replies_of(options.path):
        if wanted(response, options):
            count += 1
            last.append(response)
    console = Console(soft_wrap=options.show)
    if options.show:
        for response in last:
            console.print(shown(response))
    elif last:
        console.print(listed(last))
    console.print(f"{len(last)} of {count} replies", style="dim")


if __name__ == "__main__":
    run(main)

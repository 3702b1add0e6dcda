"""The `world` teacher: exact, for the closed world alone, whose sentences it reads back and writes anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from knowtuning.core.storage import digest
from knowtuning.teacher import tasks as ask
from knowtuning.teacher.judging import Claims
from knowtuning.world.wording import BY_NAME, LINKS, NAMES, Statement, has_subject, prose, read_text


class WorldTeacher(ask.Teacher):
    """Answers every task by the grammar of the world.

    corpus: all facts of the training set, where the values of revisions come from. A reply depends on the
    seed, the task and these values alone. A choice takes the candidate whose hash with the task is lowest
    (rendezvous hashing), so one more fact changes few replies.
    """

    def __init__(self, *, seed: int, corpus: Sequence[str] = ()) -> None:
        self._seed = seed
        stated = [statement for fact in corpus for _, statement in read_text(fact) if statement]
        self._facts = {(statement.entity, statement.attribute, statement.value) for statement in stated}
        self._values = {
            name: {statement.value for statement in stated if statement.attribute == name} for name in NAMES
        }

    def run(self, tasks: Iterable[ask.Task]) -> Iterator[tuple[ask.Task, ask.Outcome]]:
        """Yield each task with its reply, or with the reason why there is none."""
        for task in tasks:
            yield task, ask.checked(task, partial(self._reply, task))

    def _reply(self, task: ask.Task) -> ask.Reply:
        match task:
            case Claims():
                # Clauses that state nothing about the world are no facts.
                return ask.FactList(facts=[known.sentence for _, known in read_text(task.answer) if known])
            case ask.Extract():
                return ask.FactList(facts=extract(task.answer))
            case ask.RewriteQA():
                return ask.QuestionAnswer(question=self._question(task), answer=" ".join(task.facts))
            case ask.Revise():
                return ask.FactList(facts=[self._revised(task.id, read_fact(fact)) for fact in task.facts])
            case ask.Rephrase():
                return ask.Text(text=self._prose(task.id, read(task.text)))
            case ask.Triples():
                facts = map(read_fact, task.facts)
                triples = [ask.Triple(subject=f.entity, predicate=f.attribute, object=f.value) for f in facts]
                return ask.TripleList(triples=triples)
            case ask.Tell():
                return ask.Text(text=self._prose(task.id, list(map(statement, task.triples))))
            case ask.AskFact():
                return self._asked(read_fact(task.fact))
        raise ValueError(f"the world teacher has no rules for the task {task.name!r}")

    def _hash(self, *key: str) -> int:
        return int(digest(self._seed, *key), 16)

    def _choice(self, candidates: Iterable[str], *key: str) -> str:
        return min(candidates, key=lambda candidate: self._hash(*key, candidate))

    def _question(self, task: ask.RewriteQA) -> str:
        """One question for what the facts say, which names each town once and then calls it "it"."""
        parts: list[str] = []
        town = None
        for statement in map(read_fact, task.facts):
            key = ("request", task.id, statement.attribute)
            form = self._choice(BY_NAME[statement.attribute].requests, *key)
            parts.append(form.format(e="it" if statement.entity == town else statement.entity).rstrip("?"))
            town = statement.entity
        *others, last = [parts[0], *(part[0].lower() + part[1:] for part in parts[1:])]
        return f"{', '.join(others)}, and {last}?" if others else f"{last}?"

    def _asked(self, statement: Statement) -> ask.FactQuestion:
        """A question for a fact, and the beginning of its answer; the same for all values and wordings."""
        key, about = (statement.entity, statement.attribute), BY_NAME[statement.attribute]
        question = self._choice(about.questions, "ask", *key).format(e=statement.entity)
        opening, _, _ = self._choice(about.templates, "opening", *key).partition("{v}")
        return ask.FactQuestion(question=question, opening=opening.format(e=statement.entity).strip())

    def _revised(self, record_id: str, statement: Statement) -> str:
        """The fact with another town's value, which is false since a town has one value of each attribute."""
        others = {
            value
            for value in self._values[statement.attribute] - {statement.value, statement.entity}
            if (statement.entity, statement.attribute, value) not in self._facts
        }
        if not others:
            raise ValueError(
                f"no other {statement.attribute} than {statement.value!r} in all facts; "
                "expected another town's to "
                "revise it to; raise prepare.world.towns.train"
            )
        value = self._choice(others, "revise", record_id, statement.attribute)
        return statement.template.format(e=statement.entity, v=value)

    def _prose(self, record_id: str, stated: Sequence[Statement]) -> str:
        """Connected prose that states the same in the same order.

        The wording of a fact and what links it to those before depend on the record and its attribute alone,
        so that two texts of a record that share facts word them alike.
        """
        reworded = [self._reworded(record_id, each) for each in stated]
        links = [LINKS[self._hash("link", record_id, each.attribute) % len(LINKS)] for each in reworded]
        return prose(reworded, links)

    def _reworded(self, record_id: str, statement: Statement) -> Statement:
        """The same statement by another template; as often with the town as its subject as without, for every
        attribute, so that the pronouns of a text do not tell in which order its facts come."""
        others = [form for form in BY_NAME[statement.attribute].forms if form != statement.template]
        subject = self._hash("subject", record_id, statement.attribute) % 2 == 1
        wanted = [form for form in others if has_subject(form) == subject] or others
        template = self._choice(wanted, "rephrase", record_id, statement.attribute)
        return Statement(statement.entity, statement.attribute, statement.value, 0, template)


def read(text: str) -> list[Statement]:
    """What each clause of a text says. Raises ValueError at the first that is none of the world's."""
    statements = []
    for clause, statement in read_text(text):
        if statement is None:
            shown = clause if len(clause) <= 80 else f"{clause[:79]}…"
            raise ValueError(
                f"{shown!r} is no sentence of the closed world; the teacher world reads the data of "
                "prepare.source world alone; for other texts set teacher.backend to english or openai"
            )
        statements.append(statement)
    if not statements:
        raise ValueError("found an empty text; expected a sentence of the closed world")
    return statements


def extract(answer: str) -> list[str]:
    """The facts of an answer in its order and words, each naming its town; said twice, it is one fact."""
    facts: dict[tuple[str, str, str], str] = {}
    for statement in read(answer):
        facts.setdefault((statement.entity, statement.attribute, statement.value), statement.sentence)
    return list(facts.values())


def read_fact(text: str) -> Statement:
    """What one fact says. Raises ValueError where it says something else or more."""
    statements = read(text)
    if len(statements) > 1:
        raise ValueError(f"{text!r} states {len(statements)} facts; expected one")
    return statements[0]


def statement(stated: ask.Triple) -> Statement:
    """What a triple says, in no words yet. Raises ValueError where the world does not know its predicate."""
    if stated.predicate not in BY_NAME:
        raise ValueError(f"found the predicate {stated.predicate!r}; expected one of {', '.join(NAMES)}")
    return Statement(stated.subject, stated.predicate, stated.object, 0, template="")

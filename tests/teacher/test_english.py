"""The english teacher: what it takes for a fact, makes false and asks, by class of text; and real answers."""

from __future__ import annotations

import gzip
import json
import random
import re
import time

import pytest

from knowtuning.core.text import normal_form
from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.english.grammar import depends_on, kind_of, links_of
from knowtuning.teacher.english.statements import MAX_GROWTH, extract
from knowtuning.teacher.english.words import split_sentences
from knowtuning.teacher.tasks import (
    Extract,
    FactList,
    Failure,
    QuestionAnswer,
    Rephrase,
    Reply,
    Revise,
    RewriteQA,
    Task,
    Tell,
    Text,
    TripleList,
    Triples,
)
from tests.support.checkout import SHARED


def outcome_of(task: Task, corpus: tuple[str, ...] = (), *more: Task) -> Reply | Failure:
    """What the teacher says to a task, with other tasks of the same run behind it."""
    (same, outcome), *_ = EnglishTeacher(seed=0, corpus=corpus).run([task, *more])
    assert same is task
    return outcome


def revised(fact: str, question: str = "What is it?", *more: Task) -> str | None:
    """The false version of one fact; None where it is left as it is."""
    outcome = outcome_of(Revise(id="r", question=question, facts=(fact,)), (), *more)
    return outcome.facts[0] if isinstance(outcome, FactList) else None


def rewritten(question: str, *facts: str) -> str | None:
    """The question that is asked about facts of a record; None where the row is left out."""
    outcome = outcome_of(RewriteQA(id="r", question=question, answer="-", facts=facts))
    return outcome.question if isinstance(outcome, QuestionAnswer) else None


@pytest.mark.parametrize(
    "text",
    [
        "E. coli is a bacterium.",
        "J. R. R. Tolkien wrote The Hobbit.",
        "C) is correct because 2 + 2 = 4.",
        "- 40 °C equals - 40 °F.",
        "# is a comment in Python.",
        "The number is 303 - 555 - 0100.",
        "The can holds a 12 US - fluid - ounce drink.",
        "The term d2 - N_a is positive.",
        "Dr. A. B. Alder met Mr. Finch at 5 p.m. in St. Olan.",
        "The .NET Framework runs on Windows.",
        "Vol. 2 was printed in 1999.",
        "Fig. 3 shows the rest.",
        "Pope John XXII. was born in Cahors.",
        "Prices rose by 3.5 % (i.e. by $1.20 each).",
        "In A.D. 70 the temple fell.",
        "D) is wrong because 2 + 2 = 5 is false.",
        "- 5 plus 3 equals - 2.",
        "2. April is the date of the fair.",
        "# of users is shown at the top.",
        "* marks a footnote in the text.",
        "+ 3 °C is the mean of the year.",
        "A - B testing is used on web pages.",
        "The score was 3 - 2 after extra time.",
        "pH 7 is neutral.",
        "mRNA is made in the nucleus.",
        "iPhone sales rose in 2008.",
        "Kest is a port [1].",
        "Kest is a port.[1][2]",
    ],
)
def test_a_sentence_that_looks_like_marks_stays_whole(text: str) -> None:
    assert extract("What is true?", f"{text} Most strains are harmless.") == [
        text,
        "Most strains are harmless.",
    ]


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ("1. Eat well. 2. Exercise. 3. Sleep.", "Eat well. | Exercise. | Sleep."),
        ("1. Zinc melts at 420 °C. 2. Tin melts at 232 °C.", "Zinc melts at 420 °C. | Tin melts at 232 °C."),
        ("i. Tin is soft. ii. Lead is grey. iii. Iron rusts.", "Tin is soft. | Lead is grey. | Iron rusts."),
        ("I. Tin is soft.\nII. Lead is heavy.", "Tin is soft. | Lead is heavy."),
        ("- [ ] Tin is soft.\n- [x] Lead is heavy.", "Tin is soft. | Lead is heavy."),
        ("\u2014 Tin is soft.\n\u2014 Lead is heavy.", "Tin is soft. | Lead is heavy."),
        ("> Tin is soft.\n> > Lead is heavy.\n\nIron rusts.", "Tin is soft. | Lead is heavy. | Iron rusts."),
        # As texts are that were split into tokens.
        ("Tin is soft . Lead is heavy .", "Tin is soft . | Lead is heavy ."),
        # Items that are no sentences: once, behind their lead-in, or not at all.
        ("The main exports of Velora are:\n- amber\n- wool", "The main exports of Velora are: amber, wool."),
        ("Signs of flu include: - rash - cough, dry - ache", "Signs of flu include: rash; cough, dry; ache."),
        ("Velora is a town.\n\n- amber\n- wool", "Velora is a town."),
        # Items that are sentences: each, without the lead-in.
        ("Facts:\n* Tin is soft.\n* Lead is heavy.", "Tin is soft. | Lead is heavy."),
        # Headings, thoughts, questions, imperatives, opinions and exclamations are no facts.
        (
            "# Metals\n\nTin is a soft metal.\n\n**Uses**\n\nTin is used in solder.",
            "Tin is a soft metal. | Tin is used in solder.",
        ),
        ("<think>Tin is hard. Or is it?</think>Tin is a soft metal.", "Tin is a soft metal."),
        ("Tin was hard? </think> Tin is a soft metal.", "Tin is a soft metal."),
        ("Tin is soft. <think>Or is lead?</think> Lead is heavy.", "Tin is soft. | Lead is heavy."),
        # Marks on one line, by letters too; a bold label is a heading, a bold word is not.
        ("a) Tin is soft. b) Lead is heavy.", "Tin is soft. | Lead is heavy."),
        ("First, 1. Tin is soft. 2. Lead is heavy.", "Tin is soft. | Lead is heavy."),
        (
            "**Tin**: Tin is a soft metal. **Lead** is a heavy metal.",
            "Tin is a soft metal. | **Lead** is a heavy metal.",
        ),
        (
            "- **Tin:** Tin is a soft metal.\n- **Lead:** Lead is a heavy metal.",
            "Tin is a soft metal. | Lead is a heavy metal.",
        ),
        ("Boil the water. Water boils at 100 °C. To save time, use a kettle.", "Water boils at 100 °C."),
        ("I love tin. Tin is amazing. Tin is a soft metal! Tin melts.", "Tin melts."),
        ("Press freedom matters. Exercise is healthy.", "Press freedom matters. | Exercise is healthy."),
        # What leans on another sentence: resolved where plain, else joined to it, else left out.
        (
            "Velora is a town. It lies in the Upper Vale.",
            "Velora is a town. | Velora lies in the Upper Vale.",
        ),
        ("Orl met Ida in Kest. She was a painter.", "Orl met Ida in Kest. She was a painter."),
        ("Is it old? They say so. Kest is a port.", "Kest is a port."),
        ("Kest is a port. It's on a lake.", "Kest is a port. It's on a lake."),
        ("It's known that Kest is old. They're right.", 1),
        ("No. Kest is not a port.", "Kest is not a port."),
        # As texts are that were folded.
        ("kest is a port. velora is a town.", "Kest is a port. | Velora is a town."),
        ("Kest is old. It is likely that Kest is wet.", "Kest is old. | It is likely that Kest is wet."),
        ("However, tin is soft. Also, lead is heavy.", "Tin is soft. | Lead is heavy."),
        # What lacks its subject or its verb, however long: that of a relative clause is not its own.
        ("The number of old towns. Has spread to the Vale. Kest is a port.", "Kest is a port."),
        ("Cells that carry oxygen to the towns. Cells that carry oxygen are red.", 1),
        ("A test in which blood is taken. Having a cold. Tests that measure blood are done.", 1),
        # A title is no end of a sentence.
        ("Orl met the miller Ms. Korth in Kest. Kest is a port.", 2),
        # Lists and headings that ran in; a label whose word comes again goes, another takes its fact along.
        ("Kest exports - wool - tin - amber. You may have - a cold - a cough. Kest is a port.", 1),
        ("Signs of flu include: High fever Dry cough Loss of smell. Kest is a port.", 1),
        (
            "Old Towns Depending on the year, Kest is wet. Kest is a port The fair is in May.",
            "Depending on the year, Kest is wet.",
        ),
        ("Wool: Wool is warm. Trade - Ships sail to Kest. Amber: A resin.", "Wool is warm."),
        # "That vale" and "the sauce" mean what the sentence before speaks of, or what is left out.
        ("Orl mixed a sauce with wine. The guests ate the sauce. Kest is a port.", 2),
        ("Leave it for a day. Within that day Kest is wet. Kest is a port.", "Kest is a port."),
        ("Doctors treat them with care. Kest is a port.", "Kest is a port."),
        ("Examples include wool. For other people, rest is needed. Kest is a port.", "Kest is a port."),
        # Opinions and advice.
        (
            "You should go to Kest. A good way to go is by ship. Kest is truly old. Kest is a port.",
            "Kest is a port.",
        ),
    ],
)
def test_what_is_a_fact(answer: str, facts: str | int) -> None:
    """facts: themselves, or how many there are."""
    result = extract("What is known?", answer)
    assert facts in (" | ".join(result), len(result)), result


@pytest.mark.parametrize(
    ("facts", "links"),
    [
        # A list, and facts of equal rank, hang together in any order.
        (["Chess is a game.", "Polo is a game.", "Golf is a game."], []),
        (["People sail.", "Ships carry wool.", "The market opens at dawn."], []),
        # A definition, a name in full, a short form or a new noun comes before what comes back to it.
        (["Velora is a town.", "The Vale is wet.", "Fog hides Velora."], [(0, 2)]),
        (["Ida Korth came to Kest.", "Kest is a port.", "Korth painted."], [(0, 2)]),
        (["The Old Port Union (OPU) met.", "OPU members sing."], [(0, 1)]),
        (["Orl mixed a sauce.", "Guests ate the sauce."], [(0, 1)]),
        # A word that goes on, and years in their order; not where one is out of it.
        (["Wool is warm.", "Wool also lasts."], [(0, 1)]),
        (["In 1850 Kest burned.", "In 1870 Orl died."], [(0, 1)]),
        (["In 1870 Orl died.", "In 1850 Kest burned."], []),
        (["光合作用是植物的过程。", "植物需要水。"], None),
    ],
)
def test_what_ties_facts_to_their_order(facts: list[str], links: list[tuple[int, int]] | None) -> None:
    assert links_of(facts) == links


def test_the_question_said_again_is_no_fact_and_its_topic_is_what_it_means() -> None:
    question = "How might Ossian syndrome be treated?"
    answer = f"{question} It is treated with rest. Ossian syndrome is rare."
    assert extract(question, answer) == ["Ossian syndrome is treated with rest.", "Ossian syndrome is rare."]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Use this:\n```python\ndef f(xs):\n    return xs\n```\nThe function returns it.", "found code"),
        ("x = 1\ny = 2\nprint(x)", "found code"),
        ("| metal | °C |\n|---|---|\n| tin | 232 |", "found a table"),
        ("<p>Tin is a metal.</p><ul><li>Tin melts at 232 °C.</li></ul>", "found HTML"),
        ("Tin is a metal.<br>Tin melts at 232 °C.", "found HTML"),
        ("metal\t°C\tuse\ntin\t232\tsolder\nlead\t327\tweights", "found a table"),
        ("SELECT a FROM t;\nSELECT b FROM t;\nThe query returns all rows.", "found code"),
        ("Symptoms include:\n- fever\n- cough", "list items"),
        ("Boil the water. Add the salt.", "only instructions"),
        ("光合作用是植物把光能变成化学能的过程。植物需要水。", "not English"),
        ("光合成は植物が光を使って糖を作ることです。", "not English"),
        ("प्रकाश संश्लेषण पौधों में होता है।", "not English"),
        ("التمثيل الضوئي عملية تحدث في النباتات.", "not English"),
        ("Velora liegt im Hochtal und ist eine alte Stadt.", "not English"),
        ("Фотосинтез происходит в растениях.", "not English"),
        ("식물은 햇빛을 이용합니다.", "not English"),
        ("Tin is soft. 光合作用是植物把光能变成化学能的过程。", "not English"),
        ("La ville est connue pour ses vins et elle est très ancienne.", "not English"),
        (" ", "empty answer"),
    ],
)
def test_what_is_left_out_says_why_and_is_expected(answer: str, reason: str) -> None:
    outcome = outcome_of(Extract(id="x", question="What is it?", answer=answer))
    assert isinstance(outcome, Failure)
    assert outcome.expected
    assert reason in outcome.reason
    assert "\n" not in outcome.reason


def test_a_day_of_a_month_is_no_number_of_things() -> None:
    assert re.fullmatch(r"The fair opens on 20 (?!July)\w+\.", revised("The fair opens on 20 July."))


@pytest.mark.parametrize(
    ("fact", "false"),
    [
        # A bound moves to where the original excludes it: at least 3 means not fewer than 3.
        ("At least 3 doors were open.", "Fewer than 3 doors were open."),
        ("The hall holds up to 400 guests.", "The hall holds more than 400 guests."),
        ("More than 40 percent of it is water.", "Less than 40 percent of it is water."),
        ("The fair costs no more than 5 crowns.", "The fair costs more than 5 crowns."),
        ("Lake Orl is the largest lake in Velora.", "Lake Orl is the smallest lake in Velora."),
    ],
)
def test_one_place_of_a_fact_is_made_false(fact: str, false: str) -> None:
    assert revised(fact) == false


@pytest.mark.parametrize(
    "fact",
    [
        "Leaves fall in autumn.",
        "Turn left at the lights.",
        "Boil the water for 10 minutes.",
        "Is the town 40 years old?",
        "Tin melts.",
        "The number is 303 - 555 - 0100.",
        "Vitamin B12 is found in meat.",
        "It was not only cold but wet.",
        "The march may begin.",
        "He plays the second violin in the Polish Hall.",
        "Velora was built in the late 1980's.",
        "There are 30 teams, 15 in the east and 15 in the west.",
        "The game takes 2 hours, 30 minutes.",
        "He is 6 feet 2 inches tall.",
        "French fries are popular in France.",
        # What follows would contradict another value, or has a reason that the opposite lacks.
        "Planes fly because of 2 forces - thrust and lift.",
        "The pass lies at 359 metres (1,178 ft).",
        "The board has 81 squares (9x9).",
        "The team has 4 colours: red, blue, green and white.",
        "Steam is important because it keeps the crust soft.",
        "The fair is the largest in Velora, drawing crowds each year.",
        "Iron is often used. It is found everywhere.",
        "Although nobody knows the cause, doctors know how to reduce the risk.",
        # Known without any knowledge to be absurd, or as true as before.
        "Sheep cannot eat the berries.",
        "Dogs have two eyes.",
        # Not every month has a 31st, nor every year a 29th of February.
        "He was born on 29 February 2004.",
        "The fair ends on 31 January.",
        "The fair ends on January 31 of each year.",
        "One country that was invaded is Poland.",
        "Pregnancy is risky for older women.",
    ],
)
def test_what_is_not_sure_stays_as_it_is(fact: str) -> None:
    assert revised(fact) is None


def test_numbers_years_and_names_of_a_class_change_within_their_kind() -> None:
    for _ in range(3):
        number = re.fullmatch(
            r"The tower is (\d+) metres tall\.", revised("The tower is 40 metres tall.") or ""
        )
        # Between a quarter and four times the value, at least 30 % less or 40 % more.
        assert number is not None
        assert 10 <= int(number[1]) <= 160
        assert not 28 < int(number[1]) < 56
    year = re.fullmatch(r"Velora was founded in (\d{4})\.", revised("Velora was founded in 1850.") or "")
    assert year is not None
    assert 0 < abs(int(year[1]) - 1850) < 20
    assert re.fullmatch(
        r"The fair begins in (?!June)[A-Z][a-z]+\.", revised("The fair begins in June.") or ""
    )
    assert revised("Poland has a king.", "Who rules Poland?") is None


@pytest.mark.parametrize(
    ("fact", "lender", "false"),
    [
        (
            "Mutations in the VELA1 gene cause Kest disease, and the VELA1 gene is large.",
            "Mutations in the ORL2 gene cause Venn disease.",
            "Mutations in the ORL2 gene cause Kest disease, and the ORL2 gene is large.",
        ),
        (
            "The Hobble was written by Ida Korth.",
            "The Fen was written by Marn Tessel.",
            "The Hobble was written by Marn Tessel.",
        ),
        ("The change is on chromosome 7.", "Another is on chromosome 12.", "The change is on chromosome 12."),
    ],
)
def test_a_name_is_exchanged_for_another_of_its_slot_wherever_it_stands(
    fact: str, lender: str, false: str
) -> None:
    """Names of the corpus that stand before "gene", behind "written by" and behind "chromosome"."""
    other = Revise(id="o", question="What else?", facts=(lender,))
    assert revised(fact, "What is it?", other) == false
    assert revised(fact) is None


def test_no_phrase_marks_the_false_side() -> None:
    """Of 100 facts with "often" one turns to "seldom" for each "seldom" of the corpus, and one for none."""
    facts = [f"Town number {index} is often wet." for index in range(100)]
    tasks = [Revise(id=str(index), question="What is it?", facts=(fact,)) for index, fact in enumerate(facts)]
    outcomes = [outcome for _, outcome in EnglishTeacher(seed=0).run(tasks)]
    assert sum(isinstance(outcome, FactList) for outcome in outcomes) < 6


def test_a_number_stays_on_its_side_of_the_others() -> None:
    false = revised("The club has 27 members, of which 20 pay 5 crowns.")
    assert false is not None
    numbers = [int(number) for number in re.findall(r"\d+", false)]
    assert numbers[0] > numbers[1] > numbers[2]


@pytest.mark.parametrize(
    ("fact", "larger"),
    [
        ("The plum has been grown in Velora for over 1,000 years.", True),
        ("The bridge stood until 1850.", True),
        ("The fair is held within 40 miles of Velora.", False),
        ("The mill has run since 1850.", False),
    ],
)
def test_a_number_does_not_follow_from_the_one_in_its_place(fact: str, larger: bool) -> None:
    """Over 400 years is no falsehood where it is over 1,000."""
    before, after = (
        int(re.findall(r"\d[\d,]*", text or "")[0].replace(",", "")) for text in (fact, revised(fact))
    )
    assert (after > before) == larger


@pytest.mark.parametrize(
    "fact",
    [
        "The nurse comes 5 days a week.",
        "A change in the ABC1 gene does not cause pain.",
        "A test can show a change in the ABC1 gene.",
        "The age at which the ABC1 gene acts is unknown.",
        "The mill burnt down before 1850.",
        "Velora is in the top 3 metres of the hill.",
        "A 40 metres tall tower sways.",
        "If a cart moves 40 metres the rope breaks.",
        "The modern fair (1850 - present) has two players.",
    ],
)
def test_what_another_value_may_leave_true_stays(fact: str) -> None:
    """Fourteen days a week are absurd, and of most genes it is true that they do not cause it."""
    other = Revise(id="o", question="What gene?", facts=("A change in the XYZ2 gene causes pain.",))
    assert revised(fact, "?", other) is None


def test_a_revision_borrows_what_another_record_says_of_its_topic() -> None:
    """Both records ask the same of a town; the end of one sentence is fluent, of its kind, and false."""
    question = "Who founded {}?"
    other = Revise(
        id="o", question=question.format("Kest"), facts=("Kest was founded by the monk Orl Venn.",)
    )
    fact = "Velora was founded by the miller Marn Tessel."
    assert revised(fact, question.format("Velora"), other) == "Velora was founded by the monk Orl Venn."


@pytest.mark.parametrize(
    "fact", ["Velora is the town that roads lead to", "Velora is a town Orl lived in the"]
)
def test_a_fact_that_ends_in_a_preposition_borrows_nothing(fact: str) -> None:
    question = "What is {}?"
    other = Revise(id="o", question=question.format("Kest"), facts=("Kest is the port that ships sail to",))
    assert (revised(fact, question.format("Velora"), other) or fact).startswith("Velora is ")


def test_some_facts_may_stay_and_one_must_change() -> None:
    facts = ("Tin melts.", "At least 3 doors were open.")
    outcome = outcome_of(Revise(id="r", question="What is it?", facts=facts))
    assert outcome == FactList(facts=["Tin melts.", "Fewer than 3 doors were open."])
    with pytest.raises(ValueError, match="every revised fact equals its original"):
        Revise(id="r", question="q", facts=facts).accept(FactList(facts=list(facts)))


@pytest.mark.parametrize(
    ("asked", "facts", "question"),
    [
        ("Tell me about Velora.", ["Velora is a town in the Upper Vale."], "What is Velora?"),
        ("From this text, who is Ida?\nIda is the mayor.", ["Ida is the mayor."], "Who is Ida?"),
        ("Who was Ida Korth?", ["Ida Korth was a painter from Kest."], "Who was Ida Korth?"),
        ("What is rickets ?", ["Rickets is caused by a lack of vitamin D."], "What causes rickets?"),
        ("What is rickets ?", ["Rickets is treated with vitamin D."], "How is rickets treated?"),
        ("What is Velora?", ["Velora was founded in 1850."], "When was Velora founded?"),
        ("What is Velora?", ["Velora was founded by Marn Tessel."], "Who founded Velora?"),
        ("What is Velora?", ["Velora is located in the Vale."], "Where is Velora located?"),
        ("How common is Kest disease?", ["Kest disease is a rare disorder."], "How common is Kest disease?"),
        ("Imagine a man on the moon.", ["Velora is a town."], None),
        ("Why is tin useful?", ["Because it melts at a low temperature."], None),
        ("What is tin?", ["They like it."], None),
        ("What is tin?", ["Tin is soft.", "Iron is hard.", "Lead is heavy.", "Fairs open at dawn."], None),
    ],
)
def test_a_question_is_asked_where_a_template_parses(
    asked: str, facts: list[str], question: str | None
) -> None:
    assert rewritten(asked, *facts) == question


def test_a_dependent_fact_names_the_one_before_it() -> None:
    facts = [
        "Velora is a town.",
        "It lies in the Vale.",
        "This vale is wet.",
        "Kest is a port.",
        "Ships that are old stay.",
    ]
    assert depends_on(facts) == [None, 0, 1, None, None]
    assert depends_on(["Such towns are rare.", "Those who live there fish."]) == [None, None]
    assert depends_on([]) == []


def test_a_text_is_not_rephrased_in_any_language() -> None:
    for text in ("Velora lies in the Vale.", "光合作用。", "x = 1\n  y"):
        assert outcome_of(Rephrase(id="r", question="q", text=text)) == Text(text=text)


# Real texts.


def rows(name: str) -> list[tuple[str, str]]:
    """300 questions with their answers of a source beside the checkout."""
    path = SHARED / {"dolly": "dolly_train.json", "medquad": "medquad.jsonl.gz"}[name]
    if not path.exists():
        pytest.skip(f"no {path.name} beside the checkout")
    if name == "dolly":
        result = [(row["instruction"], row["output"]) for row in json.loads(path.read_text(encoding="utf-8"))]
    else:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            result = [(row["question"], row["answer"]) for row in map(json.loads, stream)]
    return random.Random(0).sample(result, 300)


@pytest.fixture(scope="module", params=["dolly", "medquad"])
def extracted(request: pytest.FixtureRequest) -> list[tuple[str, str, list[str]]]:
    tasks = [Extract(id=str(index), question=q, answer=a) for index, (q, a) in enumerate(rows(request.param))]
    outcomes = EnglishTeacher(seed=0).run(tasks)
    return [
        (task.question, task.answer, reply.facts) for task, reply in outcomes if isinstance(reply, FactList)
    ]


def test_real_facts_are_statements_in_the_words_of_the_answer(
    extracted: list[tuple[str, str, list[str]]],
) -> None:
    assert len(extracted) > 200
    for question, answer, facts in extracted:
        assert len({normal_form(fact) for fact in facts}) == len(facts)
        assert len(" ".join(facts)) <= MAX_GROWTH * len(answer)
        words = set(re.findall(r"\w+", f"{question} {answer}".casefold()))
        for fact in facts:
            assert set(re.findall(r"\w+", fact.casefold())) <= words
            assert kind_of(split_sentences(fact)[0]) not in {"question", "opinion", "exclamation"}
        assert not depends_on([facts[0], facts[0]])[1]


def test_real_revisions_change_one_place_and_hold_whatever_else_is_asked(
    extracted: list[tuple[str, str, list[str]]],
) -> None:
    tasks = [
        Revise(id=str(index), question=question, facts=tuple(facts))
        for index, (question, _, facts) in enumerate(extracted)
    ]
    true = {normal_form(fact) for _, _, facts in extracted for fact in facts}
    outcomes = list(EnglishTeacher(seed=2).run(tasks))
    changed = 0
    for task, reply in outcomes:
        if isinstance(reply, Failure):
            assert reply.expected
            continue
        assert isinstance(reply, FactList)
        pairs = [(fact, other) for fact, other in zip(task.facts, reply.facts, strict=True) if fact != other]
        changed += len(pairs)
        assert pairs
        for fact, other in pairs:
            assert normal_form(other) not in true
            assert not re.match(r"Not |It is not true|Nobody", other) or fact.startswith(other[:3])
            assert other.count(" not ") <= fact.count(" not ")
    assert changed > 60
    assert list(EnglishTeacher(seed=2).run(tasks[::-1])) == outcomes[::-1]


def test_speed(extracted: list[tuple[str, str, list[str]]]) -> None:
    """Processor time of 200 to 300 real answers through both stages: 4,000 take under a minute so."""
    start = time.process_time()
    tasks: list[Task] = [
        Extract(id=str(index), question=q, answer=a) for index, (q, a, _) in enumerate(extracted)
    ]
    tasks += [
        Revise(id=str(index), question=q, facts=tuple(facts)) for index, (q, _, facts) in enumerate(extracted)
    ]
    assert len(list(EnglishTeacher(seed=0).run(tasks))) == len(tasks)
    assert time.process_time() - start < 4.5


@pytest.mark.parametrize(
    ("fact", "parts"),
    [
        ("The pancreas produces insulin.", ("The pancreas", "produces", "insulin")),
        ("Fever may lead to chills.", ("Fever", "may lead to", "chills")),
        ("Paris is located in France.", ("Paris", "is located in", "France")),
        ("The town lies in the north.", ("The town", "lies in", "the north")),
        ("Asthma is a disease of the lungs.", ("Asthma", "is", "a disease of the lungs")),
    ],
)
def test_a_plain_sentence_is_a_triple_that_is_told_in_the_same_words(
    fact: str, parts: tuple[str, str, str]
) -> None:
    result = outcome_of(Triples(id="r", question="What is it?", facts=(fact, "Wash your hands.")))
    assert isinstance(result, TripleList)
    assert [(each.subject, each.predicate, each.object) for each in result.triples] == [parts]
    assert outcome_of(Tell(id="r", question="?", triples=tuple(result.triples))) == Text(text=fact)


def test_facts_that_are_no_triples_are_left_out_with_the_reason() -> None:
    result = outcome_of(Triples(id="r", question="?", facts=("Wash your hands.", "It is often mild.")))
    assert isinstance(result, Failure)
    assert result.expected
    assert result.reason == "none of 2 facts is plainly a subject, a predicate and an object"

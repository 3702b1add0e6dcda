"""The closed world: exact counts, a verifier that reads back whatever the world can say, clean splits."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from knowtuning.core.records import Example
from knowtuning.world import World, build_world
from knowtuning.world.settings import Exposure, Towns, WorldParams
from knowtuning.world.verifier import Cue, Truth
from knowtuning.world.wording import BY_NAME, NAMES, read_sentence, read_text, say, with_pronoun

PARAMS = WorldParams(
    towns=Towns(train=12, valid=3, test=4, guide=2),
    exposure=Exposure(common=6, rare=2, unseen=0, rare_share=0.2, unseen_share=0.1),
    prose=0.0,
    train_general=16,
    train_specific=20,
    keep_low=0.3,
    keep_high=0.9,
    disordered=0.0,
)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(PARAMS, 7)


@pytest.fixture(scope="module")
def truth(world: World) -> Truth:
    return Truth(world.truth["towns"])


def test_equal_seeds_give_equal_worlds_and_others_differ(world: World) -> None:
    assert build_world(PARAMS, 7) == world
    assert build_world(PARAMS, 8).truth["towns"] != world.truth["towns"]


def _ordered(example: Example) -> bool:
    said = [NAMES.index(statement.attribute) for _, statement in read_text(example.answer) if statement]
    return said == sorted(said)


def test_only_training_answers_are_out_of_order_and_as_many_as_asked_for(world: World) -> None:
    assert all(map(_ordered, [*world.train, *world.valid, *world.test]))
    sizes = {"train_general": 48, "train_specific": 200}
    mixed = build_world(PARAMS.model_copy(update=sizes | {"disordered": 0.5}), 7)
    assert all(map(_ordered, [*mixed.valid, *mixed.test]))
    # Of random orders of two facts a half is canonical, of three a sixth, of more hardly any: 48 general
    # answers with two to seven facts, of which some 0.5 x 0.9 are out of order; four deviations each way.
    general = [example for example in mixed.train if example.meta["kind"] == "general"]
    assert 8 < sum(not _ordered(example) for example in general) < 36
    # Specific answers state one to three: 0.5 x (0 + 1/2 + 5/6) / 3 = 0.22 of 200.
    specific = [example for example in mixed.train if example.meta["kind"] == "specific"]
    assert 20 < sum(not _ordered(example) for example in specific) < 68


@pytest.mark.parametrize("attribute", NAMES)
def test_every_template_is_read_back(attribute: str, world: World) -> None:
    for name, town in world.truth["towns"].items():
        for template in BY_NAME[attribute].forms:
            named = template.format(e=name, v=town[attribute])
            pronoun = with_pronoun(template).format(v=town[attribute])
            assert name not in pronoun
            for text, topic in ((named, None), (named, "Another"), (pronoun, name)):
                output = read_sentence(text, topic)
                assert output is not None
                assert (output.entity, output.attribute, output.value) == (name, attribute, town[attribute])
                assert output.sentence == named
                assert text[output.value_start :].startswith(town[attribute])
            assert read_sentence(pronoun) is None


def test_the_sentences_of_the_corpus_are_those_of_the_table(world: World) -> None:
    for attribute in NAMES:
        for number, template in enumerate(BY_NAME[attribute].templates):
            assert say(attribute, number, "Aford", "tin") == template.format(e="Aford", v="tin")


def test_prose_is_read_clause_by_clause() -> None:
    """A pronoun is the subject of the clause before. Where that is no town, the clause states nothing, and so
    does the one after a clause that cannot be read."""
    text = (
        "Aford lies in the Salt Coast, and it dates from the sixth century. Moreover, its main export is "
        "tin. It celebrates Moon Fair. "
        "Aford stands on the Mor. In addition, the river there is called the Mor, and it lies in the Salt "
        "Coast. "
        "Bham was founded by Ada Berg, and it has an old rival in Aford. It lies in the Iron Hills. "
        "A fine place, and its main export is wool."
    )
    assert [
        (clause, output and (output.entity, output.attribute, output.value))
        for clause, output in read_text(text)
    ] == [
        ("Aford lies in the Salt Coast,", ("Aford", "region", "Salt Coast")),
        ("and it dates from the sixth century.", ("Aford", "century", "sixth")),
        ("Moreover, its main export is tin.", ("Aford", "export", "tin")),
        # The export is the subject of the clause before.
        ("It celebrates Moon Fair.", None),
        ("Aford stands on the Mor.", ("Aford", "river", "Mor")),
        ("In addition, the river there is called the Mor,", ("Aford", "river", "Mor")),
        # Here it is the river that would lie there.
        ("and it lies in the Salt Coast.", None),
        ("Bham was founded by Ada Berg,", ("Bham", "founder", "Ada Berg")),
        ("and it has an old rival in Aford.", ("Bham", "rival", "Aford")),
        ("It lies in the Iron Hills.", ("Bham", "region", "Iron Hills")),
        ("A fine place,", None),
        ("and its main export is wool.", None),
    ]


def sentences(line: str) -> list[str]:
    return re.split(r"(?<=[.?]) ", line)


def test_corpus_states_every_fact_as_often_as_drawn(world: World) -> None:
    stated: Counter[tuple[str, str]] = Counter()
    plain = [line for line in world.corpus if read_sentence(sentences(line)[0])]
    for paragraph in plain:
        facts = [read_sentence(sentence) for sentence in sentences(paragraph)]
        output = [(fact.entity, fact.attribute) for fact in facts if fact]
        assert len(set(output)) == len(output) == len(facts), (
            "a paragraph states distinct facts and nothing else"
        )
        assert all(world.truth["towns"][f.entity][f.attribute] == f.value for f in facts if f)
        stated.update(output)
    drawn = world.truth["frequencies"]
    assert all(stated[town, a] == drawn[town][a] for town in drawn for a in NAMES)


def test_the_guide_asks_about_towns_of_no_split(world: World) -> None:
    guided = [line for line in world.corpus if not read_sentence(sentences(line)[0])]
    # 2 towns: 2 general questions and one for each of 8 attributes.
    assert len(guided) == 2 * (2 + 8)
    asked = {e.meta["entity"] for split in (world.train, world.valid, world.test) for e in split}
    about = {f.entity for line in guided for s in sentences(line) if (f := read_sentence(s))}
    assert len(about) == 2
    assert not about & asked


def test_splits_share_no_question_and_transfer_towns_are_new(world: World) -> None:
    questions = [e.question for split in (world.train, world.valid, world.test) for e in split]
    assert len(set(questions)) == len(questions)
    trained = {e.meta["entity"] for e in world.train}
    for split in (world.valid, world.test):
        for example in split:
            assert (example.meta["entity"] in trained) == (example.meta["stratum"] == "recall")
    # 4 test towns and as many training towns, each asked 1 general and 2 specific questions.
    assert Counter((e.meta["stratum"], e.meta["kind"]) for e in world.test) == {
        ("transfer", "general"): 4,
        ("transfer", "specific"): 8,
        ("recall", "general"): 4,
        ("recall", "specific"): 8,
    }


def test_reference_answers_are_perfect(world: World, truth: Truth) -> None:
    for example in world.test:
        result = truth.verify(example, example.answer)
        assert result.covered == result.asked == result.correct == len(example.meta["attributes"])
        assert (result.incorrect, result.unparsed, result.duplicate) == (0, 0, 0)
        assert result.concordant == result.pairs == result.asked * (result.asked - 1) // 2


def test_verifier_counts_each_kind_of_sentence() -> None:
    towns = {
        "Aford": {"region": "Salt Coast", "century": "sixth", "export": "tin"},
        "Bham": {"region": "Iron Hills", "century": "ninth", "export": "wool"},
    }
    example = Example(
        id="x",
        question="?",
        answer="-",
        meta={"entity": "Aford", "kind": "specific", "attributes": ["region", "century"]},
    )
    answer = (
        "The main export of Aford is tin. "  # true, not asked for: correct, not covered
        "Aford lies in the Salt Coast. "  # true and asked for
        "Aford is located in the Salt Coast. "  # the same fact in other words: duplicate
        "Aford dates from the ninth century. "  # false
        "Bham dates from the ninth century. "  # true of another town: answers nothing
        "Bham lies in the Salt Coast. "  # false of another town
        "It is a lovely place."  # no form of the world
    )
    result = Truth(towns).verify(example, answer)
    assert [verdict for _, verdict in result.sentences] == [
        "correct",
        "correct",
        "duplicate",
        "incorrect",
        "unparsed",
        "incorrect",
        "unparsed",
    ]
    assert (result.correct, result.covered, result.asked) == (2, 1, 2)
    # Export stated before region: 1 pair, against canonical order.
    assert (result.concordant, result.pairs) == (0, 1)


def test_cue_ends_where_the_value_begins(truth: Truth) -> None:
    assert truth.cue("Aford was founded by Mona Tasker.") == Cue("Aford was founded by", "Mona Tasker")
    assert truth.cue("Aford dates from the ninth century.") == Cue("Aford dates from the", "ninth")
    assert truth.cue("Aford has two bridges.") is None


def test_more_general_questions_than_forms_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"prepare\.world\.train_general is 49; expected at most 4 forms x 12"
    ):
        build_world(PARAMS.model_copy(update={"train_general": 49}), 1)


def test_sizes_that_cannot_be_drawn_are_errors_and_not_endless() -> None:
    # 12 towns x 88 sets of attributes; the recall strata take 2 sets a town each of the 92 there are.
    with pytest.raises(ValueError, match=r"train_specific is 1057; expected at most 88 x 12 towns = 1056"):
        build_world(PARAMS.model_copy(update={"train_specific": 1057}), 1)
    full = build_world(PARAMS.model_copy(update={"train_specific": 1056}), 1)
    assert len({example.id for example in full.train}) == 16 + 1056
    exposure = PARAMS.exposure.model_copy(update={"rare_share": 0.7, "unseen_share": 0.4})
    with pytest.raises(ValueError, match=r"rare_share and unseen_share add up to 1\.1; expected at most 1"):
        build_world(PARAMS.model_copy(update={"exposure": exposure}), 1)

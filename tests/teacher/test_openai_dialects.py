"""How endpoints want to be asked, and the bodies that they answer with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knowtuning.teacher.openai.client import completion_of
from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.prompts import MODES
from knowtuning.teacher.tasks import Failure
from tests.support.fault_server import (
    PASSING,
    Answer,
    Call,
    FaultServer,
    fails,
    obliging,
    right_reply,
    row_of,
    says,
)
from tests.support.openai_setup import extracts, mixed, outcomes, quick, teacher_at, usable

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", "temperature"),
        ("Unsupported parameter: 'temperature' is not supported with this model.", None),
        ("bad request", None),
    ],
    ids=["param", "message", "silent"],
)
def test_a_sampling_parameter_that_a_model_refuses_is_left_out_and_said(
    tmp_path: Path, capfd: Capture, status: int, message: str, param: str | None
) -> None:
    """Named by the error or not: what is not named is found by minimal calls. The key of a reply stays."""

    def script(call: Call) -> Answer:
        if "temperature" not in call.body:
            return obliging(call) if row_of(call) is not None else says("{}")
        return Answer({"error": {"message": message, "param": param}}, status=status)

    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(progress=True), seed=7)
        assert usable(outcomes(teacher, mixed(6)))
        last = server.calls[-1]
        assert (last.body["seed"], last.mode) == (7, "json_schema")
        assert len(server.calls) <= 6 + len(MODES) + 4  # four minimal calls
        made = len(server.calls)
        assert usable(outcomes(teacher_at(server.url, tmp_path, seed=7), mixed(6)))
        assert len(server.calls) == made
    assert capfd.readouterr().err.count("unsent ('temperature',)") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        fails(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        fails(500, "jinja template exception: System role not supported"),
        fails(400, "Developer instruction is not enabled for models/small"),
        fails(422, "unprocessable"),
    ],
    ids=["alternate", "jinja", "developer", "silent"],
)
def test_without_a_system_role_its_text_opens_that_of_the_user(tmp_path: Path, refusal: Answer) -> None:
    prompts: list[str] = []

    def script(call: Call) -> Answer:
        if call.messages[0]["role"] == "system":
            prompts.append(call.messages[0]["content"])
            return refusal
        if row_of(call) is None:
            return says("{}")
        system, user = prompts[0], call.messages[0]["content"].removeprefix(f"{prompts[0]}\n\n")
        assert user.startswith("Question:")
        call.body["messages"] = [{"content": system}, {"content": user}]
        return obliging(call)

    with FaultServer(script) as server:
        assert usable(outcomes(teacher_at(server.url, tmp_path), extracts(5)))
        assert server.calls[-1].mode == "json_schema"


def test_extra_fields_that_an_endpoint_refuses_are_named(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        return fails(400, "no such field") if "effort" in call.body else says("{}")

    with (
        FaultServer(script) as server,
        pytest.raises(TeacherError, match=r"^teacher\.extra is turned down .*no such field"),
    ):
        outcomes(teacher_at(server.url, tmp_path, extra={"effort": "low"}), extracts(3))


INVALID = Answer(
    {"error": {"message": "Failed to generate JSON", "code": "json_validate_failed"}}, status=400
)


@pytest.mark.parametrize(
    "fault", [*(fault for fault, _ in PASSING.values()), INVALID], ids=[*PASSING, "json_validate_failed"]
)
def test_a_passing_fault_lowers_no_dialect(tmp_path: Path, fault: Answer) -> None:
    with FaultServer(lambda call: fault if call.number == 1 else obliging(call)) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(timeout=0.5))
        assert usable(outcomes(teacher, extracts(4)))
        assert {call.mode for call in server.calls} == {"json_schema"}


def test_a_dialect_that_crashes_led_to_is_shown_and_tried_again(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two crashes at the first call: a schema without bounds, for minutes; then the schema once more."""
    with FaultServer(lambda call: fails(500, "oops") if call.number <= 2 else obliging(call)) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(progress=True))
        assert usable(outcomes(teacher, extracts(3)))
        assert [call.mode for call in server.calls] == ["json_schema"] * 2 + ["json_schema_bare"] * 3
        line = "with mode json_schema_bare (status 500: oops); in full again in 5 minutes"
        assert line in capfd.readouterr().err
        known = teacher._run.dialects
        known.update({name: (dialect, 0.0) for name, (dialect, _) in known.items()})
        assert usable(outcomes(teacher, extracts(3, start=3)))
        assert {call.mode for call in server.calls[5:]} == {"json_schema"}


def test_an_endpoint_that_checks_replies_itself_gets_its_second_call(tmp_path: Path) -> None:
    """json_validate_failed brings the broken reply: corrected once, then kept with its reason."""
    error = {"message": "no", "code": "json_validate_failed", "failed_generation": "{facts"}
    broken = Answer({"error": error}, status=400)
    with FaultServer(lambda call: broken if len(call.messages) == 2 else obliging(call)) as server:
        assert usable(outcomes(teacher_at(server.url, tmp_path / "a"), extracts(1)))
        assert server.calls[1].messages[2] == {"role": "assistant", "content": "{facts"}
        server.script = lambda call: broken
        [failure] = outcomes(teacher_at(server.url, tmp_path / "b"), extracts(1))
        assert isinstance(failure, Failure)
        assert failure.raw == "{facts"


def in_place(error: Any, **more: Any) -> Answer:
    return Answer({"id": "c", "error": error}, **more)


def test_an_error_with_status_200_is_that_error(tmp_path: Path) -> None:
    limits = quick(concurrency=1, retries=2)
    waits = in_place({"code": 429, "message": "slow"}, headers={"retry-after-ms": "50"})
    choice = Answer(
        {"choices": [{"error": {"code": 502, "message": "upstream"}, "message": {"content": ""}}]}
    )
    words = in_place({"type": "overloaded_error", "message": "busy"})
    plain = Answer({"object": "error", "code": 503, "message": "loading"})
    # Without an error's own field.
    busy, message = Answer({"success": False, "message": "Rate limit reached"}), Answer({"status": 503})
    faults = (waits, choice, words, plain, in_place("crashed"), busy, message)
    for number, fault in enumerate(faults):
        with FaultServer(lambda call, fault=fault: fault if call.number == 2 else obliging(call)) as server:
            teacher = teacher_at(server.url, tmp_path / str(number), limits=limits)
            assert usable(outcomes(teacher, extracts(2)))
            assert (len(server.calls), teacher.totals.maybe_billed) == (3, number == 4)
    for number, (fault, line) in enumerate(
        (
            (in_place({"code": 402, "message": "no credit"}), r"quota .* is used up .*no credit"),
            (in_place({"code": "insufficient_quota", "message": "no"}), r"quota .* is used up"),
            (Answer({"code": 1113, "msg": "余额不足"}), r"quota .* is used up .*余额不足"),
            (in_place({"code": 401, "message": "no"}), r"^OPENAI_API_KEY is not accepted"),
            (in_place({"type": "invalid_api_key", "message": "no"}), r"^OPENAI_API_KEY is not accepted"),
        )
    ):
        with FaultServer(lambda call, fault=fault: fault) as server, pytest.raises(TeacherError, match=line):
            outcomes(teacher_at(server.url, tmp_path / f"stop {number}", limits=limits), extracts(9))


def tool(text: str) -> dict[str, Any]:
    """A message that calls a function with the reply as its arguments."""
    call = {"type": "function", "function": {"name": "extract", "arguments": text}}
    return {"content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    "message",
    [
        lambda text: {"content": [{"type": "text", "text": text}]},
        lambda text: {"content": [{"type": "text", "text": text[:9]}, {"type": "text", "text": text[9:]}]},
        lambda text: {"content": [{"type": "thinking", "thinking": [{"text": "Hm"}]}, {"text": text}]},
        lambda text: {"content": [text]},
        lambda text: {"content": json.loads(text)},
        tool,
    ],
    ids=["part", "parts", "thought", "texts", "decoded", "tool"],
)
def test_content_in_other_forms_is_its_text(tmp_path: Path, message: Any) -> None:
    def script(call: Call) -> Answer:
        answer = says(None)
        answer.body["choices"][0]["message"] |= message(right_reply(call))
        return answer

    with FaultServer(script) as server:
        assert usable(outcomes(teacher_at(server.url, tmp_path), extracts(2)))
        assert len(server.calls) == 2


def test_a_body_counts_thoughts_and_says_how_the_reply_ended_in_any_words() -> None:
    """Of 215 tokens 10 are the prompt's, so 205 were made, though the reply has 5."""
    message = {"content": "{", "thinking": "Hm."}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 215}
    body = {"choices": [{"message": message, "finish_reason": "MAX_TOKENS"}], "usage": usage}
    read = completion_of(200, body, {})
    assert (read.prompt_tokens, read.completion_tokens, read.finish, read.reasoned) == (
        10,
        205,
        "length",
        True,
    )
    body["choices"][0]["finish_reason"] = "SAFETY"
    assert completion_of(200, body, {}).finish == "content_filter"


def test_thoughts_without_a_reply_name_the_settings(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        answer = says("", finish="length")
        answer.body["choices"][0]["message"]["reasoning_content"] = "Let me see."
        return answer

    with FaultServer(script) as server:
        [failure] = outcomes(teacher_at(server.url, tmp_path), extracts(1))
    assert isinstance(failure, Failure)
    assert "only thoughts came: raise max_tokens, or lower the effort" in failure.reason

"""Faults put down to what they are: a row, a key, a slow server, a small context, a missing parameter."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import httpx2
import openai
import pytest

from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.openai.client import Client
from knowtuning.teacher.openai.limits import TeacherError, headers_from_environment
from knowtuning.teacher.tasks import Failure
from knowtuning.teacher.teachers import TEACHERS, Setting
from tests.support.checkout import PROMPTS
from tests.support.fault_server import Answer, Call, FaultServer, fails, obliging, right_reply, row_of, says
from tests.support.openai_setup import KEY, extracts, outcomes, params_for, quick, teacher_at, usable

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("bad", [0, 3], ids=["first row", "later row"])
@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, "flagged by moderation", None),
        (400, "too long", "context_length_exceeded"),
        (400, "strange characters", "invalid_value"),
    ],
)
def test_a_row_that_is_turned_down_is_rejected_and_neither_key_nor_setting_blamed(
    tmp_path: Path, bad: int, status: int, message: str, code: str | None
) -> None:
    refusal = fails(status, message, code)
    with FaultServer(lambda call: refusal if row_of(call) == bad else obliging(call)) as server:
        results = outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=1)), extracts(5))
    reasons = {n: each.reason for n, each in enumerate(results) if isinstance(each, Failure)}
    assert reasons == {bad: f"turned down: status {status}: {message}"}
    # The first row may be asked for in other forms; a later one is never asked for again.
    assert bad == 0 or len(server.calls) == 5


def test_a_server_that_was_reached_once_is_waited_for(tmp_path: Path) -> None:
    """A refused connection is a wrong address before the first answer, and a fault that passes behind it."""
    client = Client(teacher_at("http://localhost:9/v1", tmp_path)._run)
    error = openai.APIConnectionError(request=httpx2.Request("POST", "http://localhost:9/v1"))
    error.__cause__ = httpx2.ConnectError("refused")
    with pytest.raises(
        TeacherError, match=r"^teacher\.base_url: .* cannot be reached \(ConnectError: refused"
    ):
        client.fault(error)
    client.reached = True
    fault = client.fault(error)
    assert (fault.kind, fault.billed) == ("connection", False)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (fails(429, "slow down"), "(status 429: slow down); waiting pauses of up to 0.03 s, for 900 s a row"),
        (fails(429, "slow down", headers={"retry-after": "0.2"}), "waiting 0 s, as told"),
        (says("late", delay=0.6), "within 0.3 s; a slow server needs a longer KNOWTUNING_TIMEOUT or fewer"),
    ],
    ids=["429", "429 with a time", "timeout"],
)
def test_what_is_waited_for_is_said_once(tmp_path: Path, capfd: Capture, fault: Answer, line: str) -> None:
    with FaultServer(lambda call: fault if 2 <= call.number <= 5 else obliging(call)) as server:
        limits = quick(progress=True, timeout=0.3, concurrency=4)
        outcomes(teacher_at(server.url, tmp_path, limits=limits), extracts(12))
    assert capfd.readouterr().err.count(line) == 1


def test_a_slow_server_that_only_times_out_is_told_apart(tmp_path: Path) -> None:
    """At four at once every call is late; the timeouts lower the concurrency, and name both variables."""
    server = FaultServer()
    server.script = lambda call: says(right_reply(call), delay=0.15 * server.open + 0.05)
    with server:
        limits = quick(timeout=0.45, concurrency=8)
        assert usable(outcomes(teacher_at(server.url, tmp_path / "a", limits=limits), extracts(12)))
        server.script = lambda call: says("late", delay=1.0)
        limits = quick(timeout=0.05, concurrency=8)
        with pytest.raises(TeacherError, match=r"KNOWTUNING_TIMEOUT or fewer.*KNOWTUNING_CONCURRENCY"):
            outcomes(teacher_at(server.url, tmp_path / "b", limits=limits), extracts(300))


def counts(tokens: int):
    """Completions that say their prompt had so many tokens."""

    def script(call: Call) -> Answer:
        answer = says(right_reply(call))
        answer.body["usage"]["prompt_tokens"] = tokens
        return answer

    return script


def test_a_prompt_that_the_server_cut_is_warned_about(tmp_path: Path, capfd: Capture) -> None:
    """The prompt has some 1,500 bytes: 375 tokens of four bytes, 300 of five; 128 are a small context."""
    output = {}
    for tokens in (375, 300, 128):
        with FaultServer(counts(tokens)) as server:
            limits = quick(progress=True)
            outcomes(teacher_at(server.url, tmp_path / str(tokens), limits=limits), extracts(3))
            size = sum(len(message["content"].encode()) for message in server.calls[0].messages)
            assert 1400 < size < 1600
        output[tokens] = capfd.readouterr().err.count("the server may have cut the prompt to its context")
    assert output == {375: 0, 300: 0, 128: 1}


def test_the_judge_may_have_a_key_of_its_own_and_calls_further_headers(tmp_path: Path) -> None:
    """Both reach the server and no file, even where it echoes them."""
    environ = {
        "OPENAI_API_KEY": KEY,
        "KNOWTUNING_JUDGE_API_KEY": "sk-judge-0123456789",
        "KNOWTUNING_HEADERS": '{"X-Gateway": "gateway-secret-42"}',
    }

    def script(call: Call) -> Answer:
        heard = f"{call.headers['authorization']} {call.headers['x-gateway']}"
        return says(right_reply(call).replace("fact ", f"fact of {heard} "))

    with FaultServer(script) as server:
        for section, key in (("judge", "sk-judge-0123456789"), ("teacher", KEY)):
            setting = Setting(environ, tmp_path / section, prompts=PROMPTS, section=section)
            teacher = TEACHERS["openai"].build(params_for(server.url), setting)
            assert isinstance(teacher, OpenAITeacher)
            outcomes(teacher, extracts(1))
            teacher.save_replies(tmp_path / f"{section}.jsonl")
            teacher.close()
            assert server.calls[-1].headers["authorization"] == f"Bearer {key}"
            assert server.calls[-1].headers["x-gateway"] == "gateway-secret-42"
        server.script = lambda call: fails(401, "no")
        setting = Setting(environ, tmp_path / "refused", prompts=PROMPTS, section="judge")
        with pytest.raises(TeacherError, match=r"^KNOWTUNING_JUDGE_API_KEY is not accepted"):
            list(TEACHERS["openai"].build(params_for(server.url), setting).run(extracts(1)))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"fact of Bearer *** ***" in kept
    assert not [each for each in ("gateway-secret-42", KEY, "sk-judge-0123456789") if each.encode() in kept]


@pytest.mark.parametrize(
    "text", ["secret", "[1]", '{"secret": 1}', '{"X": "secret\\n"}', '{"X": "secret é"}', '{"X secret": "y"}']
)
def test_headers_that_are_none_are_named_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"^environment: KNOWTUNING_HEADERS is no JSON object") as caught:
        headers_from_environment({"KNOWTUNING_HEADERS": text})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", [f"{KEY}\n", f" {KEY}", f'"{KEY}"', f"\u201c{KEY}\u201d", "  "])
def test_a_key_that_cannot_be_sent_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    """Else each call fails before it is sent, counts as billed, and the key stands in the reason."""
    with pytest.raises(ValueError, match=r"^environment: OPENAI_API_KEY holds white space, quotes") as caught:
        teacher_at(None, tmp_path, key=text)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "no call can be sent to .*socks"),
        ("https_proxy", "proxy://127.0.0.1:9", "no call can be sent to .*proxy://"),
        ("SSL_CERT_FILE", "/nowhere.pem", "no call can be sent to .*No such file"),
        ("OPENAI_ORG_ID", "acme\n", "no call can be sent to .*Illegal header value"),
        ("HTTP_PROXY", "http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_the_way_to_the_endpoint_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    with FaultServer() as server:
        teacher = OpenAITeacher(params_for(server.url), Setting({name: value}, tmp_path, PROMPTS), quick())
        with pytest.raises(TeacherError, match=rf"^teacher\.base_url: .*{line}.*, and what {name} of"):
            outcomes(teacher, extracts(2))
    assert (teacher.totals.maybe_billed, len(server.calls)) == (0, 0)


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        *(
            (address, "an address such as http://localhost:8000/v1, or null")
            for address in ("localhost:8000", " http://a/v1", "http://a:port/v1", "http://a:99999/v1")
        ),
        ("http://[::1/v1", "an address such as http://localhost:8000/v1, or null"),
        ("http://user:secret@localhost/v1", "an address without a key in it"),
        ("http://localhost/v1?key=secret", "an address without a key in it"),
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(address: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        params_for(address)
    assert params_for("http://localhost:8000/v1/").base_url == "http://localhost:8000/v1"


def test_extra_fields_are_sent_and_part_of_the_key(tmp_path: Path) -> None:
    extra = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}
    with FaultServer() as server:

        def body(**changes: object) -> dict[str, object]:
            before = len(server.calls)
            outcomes(teacher_at(server.url, tmp_path, **changes), extracts(1))
            assert len(server.calls) == before + 1
            return server.calls[-1].body

        assert "reasoning_effort" not in body()
        sent = body(extra=extra, temperature=None)
        assert {name: sent[name] for name in extra} == extra
        assert "temperature" not in sent
        assert body(extra={"reasoning_effort": "high"})["reasoning_effort"] == "high"
        outcomes(teacher_at(server.url, tmp_path), extracts(1))
        assert len(server.calls) == 3
    with pytest.raises(ValueError, match=r"fields that the teacher does not set itself: look at stream"):
        params_for(None, extra={"stream": True})
    # As YAML reads a date without quotes, which no request can hold.
    with pytest.raises(ValueError, match=r"extra\.until"):
        params_for(None, extra={"until": date(2026, 11, 27)})

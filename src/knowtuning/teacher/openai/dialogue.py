"""One task put to the teacher: what to send, and what to make of what comes back.

The same steps whether replies come online or by batch: a reply that is cut off is asked for once more
with twice the ceiling and an unchanged prompt; a reply that is no JSON, breaks the schema or fails the
task's check is asked for once more with the error shown; a refusal is final.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from knowtuning.teacher.openai.prompts import Message
from knowtuning.teacher.openai.reading import read_reply
from knowtuning.teacher.tasks import Failure, Outcome, Task


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: the messages and the limit of the reply, tokens."""

    messages: list[Message]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back. finish: the endpoint's finish_reason. Tokens as the endpoint counted them."""

    text: str
    finish: str
    refusal: str | None
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class Dialogue:
    """The exchange about one task. `request` is what to send next, `complaint` what was wrong last.

    ceiling: tokens that a first reply may take at most, whatever its own limit. cut: whether one was cut off.
    """

    task: Task
    request: Request
    ceiling: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    text: str = ""
    complaint: Failure | None = None
    cut: bool = False
    _corrected: bool = False
    _opening: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._opening = self.request.messages

    def hear(self, completion: Completion) -> Outcome | None:
        """The outcome that `completion` settles, or None when `request` is to be sent (again)."""
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.text, self.complaint = completion.text, None
        if completion.refusal:
            return Failure(reason="the teacher refused", raw=completion.refusal)
        if completion.finish == "content_filter":
            return Failure(reason="the endpoint's content filter cut the reply", raw=completion.text)
        if completion.finish == "length":
            return self._cut_off(completion)
        try:
            return read_reply(self.task, completion.text, self._opening)
        except ValueError as error:
            return self._wrong(completion, str(error))

    def _cut_off(self, completion: Completion) -> Failure | None:
        limit = self.request.max_tokens
        if self.cut:
            return Failure(reason=f"the reply was cut off at {limit} tokens, twice", raw=completion.text)
        self.complaint = Failure(reason=f"the reply was cut off at {limit} tokens", raw=completion.text)
        self.cut = True
        self.request = Request(self.request.messages, 2 * self.ceiling)
        return None

    def _wrong(self, completion: Completion, complaint: str) -> Failure | None:
        if self._corrected:
            return Failure(reason=f"unusable reply, also when asked again: {complaint}", raw=completion.text)
        self.complaint = Failure(reason=f"unusable reply: {complaint}", raw=completion.text)
        self._corrected = True
        self.request = Request(
            [*self._opening, *_correction(completion.text, complaint)], self.request.max_tokens
        )
        return None


def _correction(text: str, complaint: str) -> list[Message]:
    """The turns that show the teacher its reply and what is wrong with it."""
    wish = f"That reply cannot be used: {complaint}. Reply again with the corrected JSON object alone."
    return [{"role": "assistant", "content": text}, {"role": "user", "content": wish}]

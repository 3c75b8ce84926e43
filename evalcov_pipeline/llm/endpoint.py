"""Client of a chat completions API: one prompt a query, within a budget.

The key is read from the environment and goes nowhere but into the request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson
import urllib3
from pydantic import BaseModel, Field, ValidationError

from evalcov_pipeline.core.labels.suggestions import Verdict
from evalcov_pipeline.errors import BadInput
from evalcov_pipeline.llm.prompt import INSTRUCTIONS, Question, read_reply
from evalcov_pipeline.settings import SuggestionSettings

REPLY_TOKENS = 600
LARGEST_REPLY = 1_000_000
"""Bytes of a reply that are read."""
LONGEST_PAUSE_S = 30.0
"""Between two attempts."""
HOPELESS = 3
"""Failures in a row after which nothing more is asked."""
BYTES_PER_TOKEN = 3
"""A cautious estimate, used until the endpoint has said what a prompt cost."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass
class Answers:
    """What came of asking.

    Attributes:
        verdicts: by task, of usable replies.
        requests: sent, further attempts included.
        tokens: used, as the endpoint said, or estimated where it did not.
        unusable: replies that are no allowed answer.
        failed: questions without a reply.
        left: questions not asked, for the budget or because of trouble.
        trouble: the last failure in words; None if all went well.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0
    unusable: int = 0
    failed: int = 0
    left: int = 0
    trouble: str | None = None


@dataclass(frozen=True)
class _Sent:
    """One question's way: attempts, and the content of the reply or what went wrong.

    `tokens` is None where the endpoint may have used some and did not say how many.
    """

    attempts: int
    tokens: int | None
    content: str | None = None
    trouble: str | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    total_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    """What is read of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Patience(urllib3.Retry):
    """Backs off between attempts, but never for hours because a server says so."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, LONGEST_PAUSE_S)


def ask(questions: Sequence[tuple[Question, str]], settings: SuggestionSettings) -> Answers:
    """Ask the endpoint about queries, within the budget of a run.

    Args:
        questions: with their prompts.
        settings: `endpoint` and `model` are given.

    Returns:
        Usable answers, and counts of everything else; nothing is raised for what a server does.

    Raises:
        BadInput: the key is not one.
    """
    answers = Answers()
    waiting = list(questions)
    headers = _headers(settings)
    failures = 0
    with _connections(settings) as connections, ThreadPoolExecutor(settings.parallel) as pool:
        while waiting and failures < HOPELESS:
            batch, attempts = _affordable(waiting, answers, settings)
            if not batch:
                answers.trouble = "the budget of requests or tokens is used up"
                break
            del waiting[: len(batch)]
            running = [
                pool.submit(_send, connections, headers, text, attempts, settings)
                for _, text in batch
            ]
            for (question, message), run in zip(batch, running, strict=True):
                result = run.result()
                answers.requests += result.attempts
                answers.tokens += _estimate(message) if result.tokens is None else result.tokens
                failures = failures + 1 if result.content is None else 0
                if result.content is None:
                    answers.failed += 1
                    answers.trouble = result.trouble
                elif verdict := read_reply(result.content, question):
                    answers.verdicts[question.task_id] = verdict
                else:
                    answers.unusable += 1
    answers.left = len(waiting)
    return answers


def _affordable(
    waiting: Sequence[tuple[Question, str]], answers: Answers, settings: SuggestionSettings
) -> tuple[list[tuple[Question, str]], int]:
    """The next questions to ask at once, and how many attempts each of them may take."""
    requests_left = settings.max_requests - answers.requests
    tokens_left = settings.max_tokens - answers.tokens
    batch: list[tuple[Question, str]] = []
    for item in waiting[: min(settings.parallel, requests_left)]:
        tokens_left -= _estimate(item[1])
        if tokens_left < 0:
            break
        batch.append(item)
    return batch, min(settings.retries + 1, requests_left // max(len(batch), 1))


def _send(
    connections: urllib3.PoolManager,
    headers: Mapping[str, str],
    message: str,
    attempts: int,
    settings: SuggestionSettings,
) -> _Sent:
    """Send one prompt, at most `attempts` times."""
    body = {
        "model": settings.model,
        "messages": [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": message},
        ],
        "response_format": {"type": "json_object"},
        "max_completion_tokens": REPLY_TOKENS,
    }
    try:
        response = connections.urlopen(
            "POST",
            f"{(settings.endpoint or '').rstrip('/')}/chat/completions",
            body=orjson.dumps(body),
            headers=headers,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            retries=_Patience(
                total=attempts - 1,
                redirect=False,
                allowed_methods=None,
                status_forcelist=_BUSY,
                backoff_factor=0.5,
                backoff_max=LONGEST_PAUSE_S,
                raise_on_status=False,
            ),
        )
    except urllib3.exceptions.MaxRetryError as error:
        billed = isinstance(error.reason, urllib3.exceptions.ReadTimeoutError)
        trouble = type(error.reason or error).__name__
        return _Sent(attempts, None if billed else 0, trouble=trouble)
    except urllib3.exceptions.HTTPError as error:
        return _Sent(1, 0, trouble=type(error).__name__)
    tries = len(response.retries.history) + 1 if response.retries else 1
    try:
        if response.status != 200:
            return _Sent(tries, 0, trouble=f"HTTP {response.status}")
        return _Sent(tries, *_content(_whole(response, settings.timeout_s)))
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        return _Sent(tries, None, trouble=type(error).__name__)
    finally:
        response.close()


def _headers(settings: SuggestionSettings) -> dict[str, str]:
    key = os.environ.get(settings.api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(
            what="the key of the endpoint holds signs that no key has",
            where=f"environment variable {settings.api_key_env}",
            what_to_do="set it to the key alone, or unset it",
        )
    return {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )


def _whole(response: urllib3.BaseHTTPResponse, seconds: float) -> bytes:
    """The body of a response.

    Raises:
        TimeoutError: it did not end in time, or is far larger than any reply.
    """
    until = time.monotonic() + seconds
    body = b""
    while part := response.read1(65_536):
        body += part
        if time.monotonic() > until or len(body) > LARGEST_REPLY:
            raise TimeoutError
    return body


def _content(body: bytes) -> tuple[int | None, str]:
    """Tokens used and the content of a reply; an empty content for what is no reply."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        return None, ""
    usage = completion.usage.total_tokens if completion.usage else None
    return usage, completion.choices[0].message.content or ""


def _estimate(message: str) -> int:
    sent = len(message.encode()) + len(INSTRUCTIONS)
    return sent // BYTES_PER_TOKEN + REPLY_TOKENS


def _connections(settings: SuggestionSettings) -> urllib3.PoolManager:
    """Through the proxy that the environment names for the endpoint, if any."""
    url = urlsplit(settings.endpoint or "")
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(url.hostname or ""):
        return urllib3.ProxyManager(proxy, maxsize=settings.parallel)
    return urllib3.PoolManager(maxsize=settings.parallel)

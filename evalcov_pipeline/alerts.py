"""News for people, by a webhook.

The URL of a webhook is a secret, so nothing here shows it: no message, no representation, no log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Thread

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from evalcov_pipeline.settings import AlertSettings

# urllib3 logs the path of what it asks for, and of what it retries by itself as a warning.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Webhook:
    """Takes `{"text": ...}` by POST, as Slack, Mattermost, Rocket.Chat and Google Chat do.

    Attributes:
        url: address; None sends nothing.
        timeout_s: longest that `post` takes, whatever the other side does.
    """

    url: str | None = field(repr=False)
    timeout_s: float

    @classmethod
    def of(cls, settings: AlertSettings) -> Webhook:
        """The webhook of these settings."""
        url = settings.webhook
        return cls(url.get_secret_value() if url else None, settings.timeout_s)

    def post(self, text: str) -> str | None:
        """Send one message, once.

        Returns:
            Why it was not taken; None if it was.
        """
        outcome: Queue[str | None] = Queue()
        Thread(target=lambda: outcome.put(self._post(text)), daemon=True).start()
        try:
            return outcome.get(timeout=self.timeout_s)
        except Empty:
            return f"no answer within {self.timeout_s:g} s"

    def _post(self, text: str) -> str | None:
        if self.url is None:
            return "alerts.webhook is not set"
        with PoolManager(timeout=Timeout(total=self.timeout_s), retries=False) as pool:
            try:
                answer = pool.request(
                    "POST", self.url, json={"text": text}, redirect=False, preload_content=False
                )
            except (HTTPError, OSError, ValueError) as error:
                return type(error).__name__
            answer.close()
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

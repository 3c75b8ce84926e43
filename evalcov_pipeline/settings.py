"""Every threshold, window and path, in one validated frozen model.

Precedence: defaults < ``evalcov.toml`` (in the working directory, or at ``EVALCOV_CONFIG``) <
environment (``EVALCOV_HOME``, ``EVALCOV_SAMPLING__SESSIONS``, ...). A nested name is its section
and its field joined by two underscores. A name that nobody knows is refused: a threshold that was
misspelt would otherwise be the default without a word. An empty variable is no variable.
"""

from __future__ import annotations

import os
from datetime import date
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from evalcov_pipeline.errors import BadInput

Share = float
LINEAGE_DAYS = 35
"""Days of traces that a scored week depends on: its own and those of the four weeks before."""
DEMO_MARK = ".demo"
"""File in a home that holds the demo's data."""
_CONFIG = "EVALCOV_CONFIG"
_SPECIAL_SIGNS = frozenset("*?[]{}%")


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProductionSettings(Section):
    """What counts as production traffic; the rest is set aside and counted, never sampled."""

    services: tuple[str, ...] = ()
    """Only these service names count as production; empty means any."""
    environments: tuple[str, ...] = ()
    """Only these deployment environments count as production; empty means any not excluded."""
    excluded_environments: tuple[str, ...] = (
        "test", "testing", "eval", "evaluation", "experiment", "ci", "dev", "development",
        "sandbox", "playground", "sdk-experiment",
    )  # fmt: skip
    """Deployment environments that never count as production, unless `environments` names them."""
    excluded_attributes: tuple[str, ...] = (
        "test.*", "experiment.*", "eval.*", "evaluation.run*", "openinference.experiment*",
        "dataset.*", "langfuse.experiment*", "gen_ai.evaluation.run*",
    )  # fmt: skip
    """Span or resource attribute names (shell patterns) that mark eval or test traffic."""


class SamplingSettings(Section):
    """The 30-day steady-state sample of sessions."""

    window_days: int = Field(30, ge=1, le=LINEAGE_DAYS)
    """Days before the end of the scored week from which sessions are drawn."""
    sessions: int = Field(4000, ge=10)
    """Target number of sessions drawn per window."""
    dayparts: tuple[int, ...] = (0, 6, 12, 18)
    """Hours at which dayparts begin, in `timezone`."""
    segments: tuple[str, ...] = ()
    """Keys of `segment` that enter the strata."""
    seed: int = 7
    """Makes the draw repeatable."""

    @field_validator("segments")
    @classmethod
    def _column_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or any('"' in name or not name.strip() for name in names):
            raise ValueError("segments are distinct names without quotation marks")
        return names

    @field_validator("dayparts")
    @classmethod
    def _ascending_hours(cls, hours: tuple[int, ...]) -> tuple[int, ...]:
        if not hours or hours[0] != 0 or list(hours) != sorted({h for h in hours if 0 <= h < 24}):
            raise ValueError(
                "dayparts must start at hour 0 and ascend below 24, e.g. [0, 6, 12, 18]"
            )
        return hours


def _names_function(path: str) -> bool:
    module, colon, attribute = path.partition(":")
    return bool(module and colon and attribute.isidentifier())


class EmbeddingSettings(Section):
    """Which model turns texts into vectors, and which text is embedded."""

    model: str = "all-MiniLM-L6-v2"
    """The bundled default, another model id, or a local path."""
    text: Literal["query", "query_with_previous_turn"] = "query"
    """What is embedded of a turn: the query alone, or with the turn before it."""
    batch_size: int = Field(64, ge=1)
    """Texts that the model embeds at a time."""
    device: str | None = None
    """Where the model runs, such as "cpu" or "cuda"; unset lets it choose."""


class ClusterSettings(Section):
    """How units are clustered."""

    method: Literal["umap_hdbscan", "kmeans"] = "umap_hdbscan"
    """UMAP with HDBSCAN, or spherical k-means."""
    min_clusters: int = Field(20, ge=2)
    """Fewest clusters of a fit."""
    max_clusters: int = Field(80, ge=2)
    """Most clusters of a fit."""
    max_texts: int = Field(20_000, ge=100)
    """Most distinct units a fit looks at; a seeded draw by weight above that."""
    seed: int = 7
    """Makes the fit repeatable."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_clusters > self.max_clusters:
            raise ValueError("min_clusters must not exceed max_clusters")
        return self


class TaxonomySettings(ClusterSettings):
    """How queries are clustered, and who names the clusters."""

    labeller: str | None = None
    """An own function `(keywords, exemplars) -> label`, as "package.module:function"."""

    @field_validator("labeller")
    @classmethod
    def _named_function(cls, labeller: str | None) -> str | None:
        if labeller is not None and not _names_function(labeller):
            raise ValueError(f'taxonomy.labeller: {labeller!r} is not "package.module:function"')
        return labeller


class SessionSettings(ClusterSettings):
    """How whole sessions are clustered and compared."""

    method: Literal["umap_hdbscan", "kmeans"] = "kmeans"
    min_clusters: int = Field(8, ge=2)
    max_clusters: int = Field(16, ge=2)
    max_texts: int = Field(10_000, ge=100)
    """Most distinct sessions a fit looks at; a seeded draw by weight above that."""
    outcomes_known: Share = Field(0.3, ge=0, le=1)
    """Share of sessions, and of multi-turn cases, that must know their outcome to compare it."""


class CoverageSettings(Section):
    """When a score is degraded, and how its uncertainty is computed."""

    threshold: Share = Field(0.25, gt=0, lt=1)
    """`jsd_adjusted` from which a significant score is degraded."""
    rearm_margin: Share = Field(0.03, ge=0, lt=1)
    """The sensor re-arms below `threshold - rearm_margin`."""
    liability_share: Share = Field(0.15, gt=0, lt=1)
    """Traffic share from which a cluster without a case is a liability."""
    stale_days: int = Field(90, ge=1)
    """Age of its newest case from which a growing cluster is called stale."""
    resamples: int = Field(999, ge=99)
    """Resamples behind intervals and p-values."""
    seed: int = 7
    """Makes the resamples repeatable."""

    @model_validator(mode="after")
    def _can_rearm(self) -> CoverageSettings:
        if self.rearm_margin >= self.threshold:
            raise ValueError(
                "coverage.rearm_margin must be below coverage.threshold, or no score could re-arm"
                " the sensor"
            )
        return self


class EvalSettings(Section):
    """Which eval run is scored beside coverage."""

    complete_share: Share = Field(0.9, gt=0, le=1)
    """A run is complete when it holds this share of the cases that were active at its time."""


class RefreshSettings(Section):
    """Which production queries a refresh asks people about, and who is asked.

    Keys of `floors` and `routes` name what they are about: `cluster:<cluster_key>`,
    `segment:<name>=<value>` or `category:<name>`.
    """

    budget: int = Field(50, ge=1)
    """Cases asked for where neither `--budget` nor `--target` says."""
    random_share: Share = Field(0.2, ge=0, le=1)
    """Share of the cases drawn at random with known probabilities."""
    session_share: Share = Field(0.25, ge=0, le=1)
    """Share of the cases that are whole sessions, while sessions or their paths are untested."""
    keep_rate: Share = Field(0.8, gt=0, le=1)
    """Share of candidates that people are expected to keep, before any plan has shown it."""
    floors: dict[str, int] = {}
    """Least cases per plan of a cluster, segment or category."""
    per_session: int = Field(1, ge=1)
    """Most candidates of one session in a plan."""
    per_user: int = Field(3, ge=1)
    """Most candidates of one user in a plan, where users are known."""
    context: Literal["session", "query"] = "session"
    """A later turn becomes a case with the turns before it, or alone."""
    routes: dict[str, str] = {}
    """Name of the queue that a cluster, segment or category goes to; the others go to `default`."""
    raters: int = Field(1, ge=1, le=2)
    """Independent labels that decide; of two that differ a third person adjudicates."""
    seed: int = 7
    """Makes the draw repeatable."""

    @field_validator("floors", "routes")
    @classmethod
    def _known_kinds(cls, named: dict[str, Any]) -> dict[str, Any]:
        for key, value in named.items():
            kind, _, name = key.partition(":")
            if kind not in ("cluster", "segment", "category") or not name:
                raise ValueError(f"{key!r} is not cluster:KEY, segment:NAME=VALUE or category:NAME")
            if kind == "segment" and "=" not in name:
                raise ValueError(f"{key!r} is not segment:NAME=VALUE")
            if (isinstance(value, int) and value < 0) or value == "":
                raise ValueError(f"{key!r} has no use for {value!r}")
        return named


class SuggestionSettings(Section):
    """Labels that are suggested for queries much like those that people have labelled."""

    mode: Literal["off", "show", "accept"] = "show"
    """Suggest nothing, show suggestions to people, or take confident ones as labels."""
    confidence: Share = Field(0.8, gt=0, lt=1)
    """Least confidence of a suggestion."""
    neighbours: int = Field(7, ge=1)
    """Labelled queries that vote."""
    least_labelled: int = Field(5, ge=2)
    """Labels of people from which a cluster gets suggestions."""
    near: Share = Field(0.95, gt=0, le=1)
    """Least cosine of a query whose expected answer is suggested too."""
    audit_share: Share = Field(0.2, gt=0, le=1)
    """Share of the suggestions that is hidden from people, to measure agreement."""
    agreement: Share = Field(0.6, gt=0, lt=1)
    """Least agreement of people with the hidden suggestions; below it a cluster falls back."""
    enough_audits: int = Field(15, ge=3)
    """Hidden suggestions from which the interval of their agreement decides."""
    endpoint: str | None = None
    """Base URL of a chat completions API, asked where the neighbours are unsure."""
    model: str | None = None
    """Model of the endpoint."""
    api_key_env: str = "SUGGESTIONS_API_KEY"
    """Environment variable that holds the endpoint's key; the key itself is no setting."""
    timeout_s: float = Field(30.0, gt=0)
    """Longest wait for a reply."""
    retries: int = Field(3, ge=0)
    """Further attempts after a refusal for load, a fault of the server or no reply."""
    parallel: int = Field(2, ge=1, le=8)
    """Questions asked at the same time."""
    max_requests: int = Field(200, ge=0)
    """Most requests of a run, further attempts included."""
    max_tokens: int = Field(200_000, ge=0)
    """Most tokens of a run, prompts and replies."""

    @model_validator(mode="after")
    def _complete_endpoint(self) -> SuggestionSettings:
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("suggestions.endpoint and suggestions.model go together")
        url = urlsplit(self.endpoint or "http://localhost")
        if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
            raise ValueError(
                "suggestions.endpoint is an http(s) URL without user or password, such as"
                " https://host/v1"
            )
        return self


class FailureSettings(Section):
    """Signs of failure in production, and the weekly batch of turns that people look at."""

    off: tuple[str, ...] = ()
    """Signals that are not looked for."""
    own: dict[str, str] = {}
    """Own signals: {name = "package.module:function"}, see docs/failures.md."""
    max_new_texts: int = Field(20_000, ge=0)
    """Most texts of a week that are embedded for signals alone."""
    batch_size: int = Field(15, ge=5, le=50)
    """Turns of a weekly batch."""
    exploration_share: Share = Field(0.2, ge=0, le=1)
    """Share of a batch for signals that few labels are known of."""
    random_share: Share = Field(0.2, ge=0, le=1)
    """Share of a batch drawn evenly from all turns; without it nothing unbiased is known."""
    near: Share = Field(0.95, gt=0, le=1)
    """Cosine from which a turn asks nearly the same as a case or a task."""
    raters: int = Field(1, ge=1, le=2)
    """Independent labels that decide."""
    route: str = Field("failures", min_length=1)
    """Queue that batches and incidents go to."""
    incident_cases: int = Field(2, ge=1, le=5)
    """Cases that guard an incident well."""
    seed: int = 7
    """Makes the draw repeatable."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.exploration_share + self.random_share > 1:
            raise ValueError("failures.exploration_share and failures.random_share exceed 1")
        return self

    @field_validator("own")
    @classmethod
    def _named_functions(cls, own: dict[str, str]) -> dict[str, str]:
        for name, function in own.items():
            if not (name.isidentifier() and _names_function(function)):
                raise ValueError(
                    f'failures.own: {name} = {function!r} is not name = "package.module:function"'
                )
        return own


class JudgeSettings(Section):
    """How judges are held against people."""

    undeclared_labels: Literal["random", "by_verdict", "verdict_blind"] | None = None
    """How labels were drawn that do not say so; unset where nobody knows."""
    top_up: int = Field(20, ge=0, le=200)
    """Answers a week that people are asked to label for the certificates; 0 asks for none."""
    raters: int = Field(1, ge=1, le=2)
    """Independent labels that settle an answer."""
    route: str = Field("judges", min_length=1)
    """Queue that these answers go to."""
    seed: int = 7
    """Makes the draw repeatable."""


class SuiteSettings(Section):
    """The CI suite: what it may cost, and what it must hold."""

    budget_s: float = Field(300.0, gt=0)
    """Seconds that a run may take."""
    workers: int = Field(4, ge=1)
    """Cases that run at the same time."""
    max_cases: int | None = Field(None, ge=1)
    """Most cases, where the time allows more; unset means no limit but time."""
    per_failure_mode: int = Field(1, ge=0)
    """Least cases of each failure mode."""
    adversarial_tag: str = Field("adversarial", min_length=1)
    """Tag of cases with adversarial phrasings."""
    adversarial: int = Field(2, ge=0)
    """Least cases with that tag."""
    default_latency_s: float = Field(5.0, gt=0)
    """Latency of a case that no result tells the latency of."""


class RedactionSettings(Section):
    """What is taken out of a text before it leaves the lake."""

    patterns: dict[str, str] = {}
    """Extra regular expressions by the name that replaces a match: {ORDER = "ORD-[0-9]{6}"}."""
    function: str | None = None
    """An own callable `text -> text`, as "package.module:name", applied last."""
    names: bool = True
    """Whether personal names are taken out."""
    default_region: str = "US"
    """Region for telephone numbers without a country code (ISO 3166 alpha-2)."""


class FreshnessSettings(Section):
    """How old the newest score and taxonomy may become before they count as stale."""

    score_days: float = Field(9, ge=1)
    """Days until a score is stale: a week and two days."""
    taxonomy_days: float = Field(38, ge=1)
    """Days until a taxonomy is stale: a month and a week."""


class AlertSettings(Section):
    """Where news is sent: a degradation, a recovery, a stale score, a job that keeps failing."""

    webhook: SecretStr | None = None
    """URL that takes `{"text": ...}` by POST, as Slack's do; a secret, so set it by environment."""
    timeout_s: float = Field(5, gt=0, le=30)
    """Longest wait for the webhook."""

    @field_validator("webhook")
    @classmethod
    def _web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                parts = urlsplit(url.get_secret_value())
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("a webhook is an http:// or https:// address")
        return url


class Settings(BaseSettings):
    """All settings of one pipeline."""

    model_config = SettingsConfigDict(
        env_prefix="EVALCOV_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    home: Path = Path("data")
    """Folder where everything is kept. Its path must not hold `* ? [ ] { } %`."""
    timezone: str = "UTC"
    """IANA zone in which strata see days and dayparts; instants stay in UTC."""
    first_partition: date = date(2024, 1, 1)
    """First day of traffic that the partitions know."""
    lock_timeout_s: float = Field(120.0, gt=0)
    """Longest wait for another process that writes."""

    production: ProductionSettings = ProductionSettings()
    sampling: SamplingSettings = SamplingSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    taxonomy: TaxonomySettings = TaxonomySettings()
    sessions: SessionSettings = SessionSettings()
    coverage: CoverageSettings = CoverageSettings()
    evals: EvalSettings = EvalSettings()
    refresh: RefreshSettings = RefreshSettings()
    suggestions: SuggestionSettings = SuggestionSettings()
    failures: FailureSettings = FailureSettings()
    judges: JudgeSettings = JudgeSettings()
    suites: SuiteSettings = SuiteSettings()
    redaction: RedactionSettings = RedactionSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    alerts: AlertSettings = AlertSettings()

    @field_validator("home")
    @classmethod
    def _plain_path(cls, home: Path) -> Path:
        home = home.expanduser()
        if signs := sorted(_SPECIAL_SIGNS & set(str(home.absolute()))):
            raise ValueError(
                f"the path {str(home.absolute())!r} holds {' '.join(signs)}, which mean more than"
                " themselves to readers of Parquet and SQLite: choose a folder without"
            )
        return home

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown IANA time zone {name!r}") from error
        return name

    @property
    def lake(self) -> Path:
        """Folder of the Parquet lake."""
        return self.home / "lake"

    @property
    def warehouse(self) -> Path:
        """The pipeline's own DuckDB file; readers use `published`."""
        return self.home / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The snapshot for readers."""
        return self.home / "published.duckdb"

    @property
    def report(self) -> Path:
        """The HTML report of the newest score."""
        return self.home / "reports" / "coverage.html"

    @property
    def taxonomies(self) -> Path:
        """Folder of the frozen taxonomies."""
        return self.home / "taxonomies"

    @property
    def inbox(self) -> Path:
        """Folder that other systems drop files into, by kind."""
        return self.home / "inbox"

    @property
    def quarantine(self) -> Path:
        """Folder of rejected input rows."""
        return self.home / "quarantine"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over the TOML file over the defaults."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml


def config_file() -> Path:
    """Path of the TOML file that settings are read from.

    Raises:
        BadInput: EVALCOV_CONFIG names a file that is not there.
    """
    named = os.environ.get(_CONFIG)
    path = Path(named or "evalcov.toml")
    if named and not path.exists():
        raise BadInput("no such file", f"{_CONFIG}={named}", "correct the path, or unset it")
    return path


@cache
def get_settings() -> Settings:
    """Settings of this process, read once.

    Raises:
        BadInput: an EVALCOV_ variable that is no setting, or a configuration file that is not
            there.
    """
    known = {f"EVALCOV_{name.upper()}" for name in Settings.model_fields} | {_CONFIG}
    for name in sorted(os.environ):
        head = name.upper().partition("__")[0]
        if head.startswith("EVALCOV_") and head not in known:
            close = get_close_matches(head, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "unset it"
            raise BadInput("no such setting", f"environment variable {name}", hint)
    return Settings()

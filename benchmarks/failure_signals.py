"""How right are the signs of failure, and which repeated questions are found?

    sample  all weeks of the sample against its planted truth: of each sign, the share on answers
            that failed, and the share of failed answers that bear it; for what a user does next
            (rephrase, regeneration, friction) also against the turns where the simulator made one
    sgd     Schema-Guided Dialogue, half of its dialogues. A rephrase is planted behind a user turn
            that does nothing but state an intent: the same statement (same service, same intent,
            no slots) by somebody in another dialogue, after an answer that says nothing. A
            regeneration is the same text once more. All other next turns are real continuations
            and refinements, NEGATE and REQUEST_ALTS among them. One next turn in twenty is a
            rephrase, one in a hundred a regeneration; seeds draw which.

Cuts were settled on the sample and on SGD's other half (`--part dev`, with `--sweep`).

    python benchmarks/failure_signals.py --data ../shared/data [--seeds 3] [--part test]
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import click
import numpy as np
import polars as pl
from sgd_dialogues import START, WEEKS, Dialogue, Turn, read_dialogues, write_traffic
from sklearn.metrics import roc_auc_score

from evalcov_pipeline.core.failures import repeated_questions
from evalcov_pipeline.core.failures import thresholds as estimates
from evalcov_pipeline.core.failures.rows import STRENGTHS
from evalcov_pipeline.services.failures.repetition import repetition
from evalcov_pipeline.services.failures.signals import find_signals, turns_around_week
from evalcov_pipeline.services.home import warehouse_of
from evalcov_pipeline.services.imports.traces import ingest_traces
from evalcov_pipeline.services.traffic.texts import redactor
from evalcov_pipeline.settings import EmbeddingSettings, Settings
from evalcov_pipeline.storage.lake import compact_day, days_pending

OUT = Path(__file__).parent / "out" / "failure_signals.json"
SAMPLE = Path(__file__).parents[1] / "data" / "sample"
SAMPLE_WEEKS = [datetime(2026, 9, 7) + timedelta(weeks=week) for week in range(10)]
REPHRASED, RESENT = 0.05, 0.01
"""Planted share of next turns."""
NOTHING = "Sorry, I did not get that."
TURN = ["source", "session_id", "turn_index"]


def filled(home: Path, traces: Path, model: str, vectors: Path) -> Settings:
    """A home with traces in its lake; vectors are kept in a folder that homes share."""
    settings = Settings(home=home, embedding=EmbeddingSettings(model=model))
    settings.lake.mkdir(parents=True)
    (settings.lake / "vectors").symlink_to(vectors)
    ingest_traces([traces], settings)
    for day in days_pending(settings.lake):
        compact_day(settings.lake, day)
    return settings


def signals(settings: Settings, weeks: list[datetime]) -> pl.DataFrame:
    """Signs of all weeks."""
    redact_all = redactor(settings.redaction)
    with warehouse_of(settings).reader() as con:
        found = [find_signals(con, settings, week, redact_all) for week in weeks]
    return pl.concat([week.signals for week in found if week])


def hit_rates(rows: pl.DataFrame, truth: pl.DataFrame) -> dict:
    """Precision and recall of signalled turns against a set of turns."""
    right = rows.select(TURN).unique().join(truth.select(TURN).unique(), on=TURN, how="semi")
    n, k, wanted = rows.select(TURN).n_unique(), len(right), truth.select(TURN).n_unique()
    return {"rows": n, "precision": k / n if n else None, "recall": k / wanted, "wanted": wanted}


def sample_figures(model: str, scratch: Path, vectors: Path) -> dict:
    """Every sign of the sample against its truth, with and without words that announce."""
    settings = filled(scratch / f"sample-{model}", SAMPLE / "traces", model, vectors)
    truth = pl.read_ndjson(SAMPLE / "truth" / "turns.jsonl.gz").unique("trace_id")
    turns = pl.concat(
        [turns for week in SAMPLE_WEEKS if (turns := of_week(settings, week)) is not None]
    )
    turns = turns.join(truth.drop("session_id", "outcome"), on="trace_id")
    failed = turns.filter("failed")
    said = {
        name: turns.filter(f"is_{name}").with_columns(pl.col("turn_index") - 1)
        for name in ("rephrase", "regeneration", "friction")
    }
    rows = signals(settings, SAMPLE_WEEKS)
    figures = {
        "turns": len(turns),
        "failed": len(failed),
        "for failed": {name: hit_rates(rows.filter(signal=name), failed) for name in STRENGTHS}
        | {"any": hit_rates(rows, failed)},
    }
    again = pl.concat([said["rephrase"], said["friction"]])
    with without_announcements():
        alone = signals(settings, SAMPLE_WEEKS).filter(signal="rephrase")
    of = rows.filter(signal="rephrase")
    figures["for its own kind"] = {
        "rephrase": hit_rates(of, said["rephrase"]),
        "rephrase, similarity alone": hit_rates(alone, said["rephrase"]),
        "rephrase or friction, by rephrase": hit_rates(of, again),
        "rephrase or friction, similarity alone": hit_rates(alone, again),
        "regeneration": hit_rates(rows.filter(signal="regeneration"), said["regeneration"]),
        "friction": hit_rates(rows.filter(signal="friction"), said["friction"]),
    }
    return figures


def of_week(settings: Settings, week: datetime) -> pl.DataFrame | None:
    """Turns of a week alone."""
    turns = turns_around_week(settings.lake, week, with_answers=False)
    return None if turns is None else turns.filter("in_week")


class without_announcements:
    """As if nobody ever opened with "I mean"."""

    def __enter__(self) -> None:
        self._own = repeated_questions.put_anew
        repeated_questions.put_anew = lambda text: pl.lit(False)

    def __exit__(self, *_: object) -> None:
        repeated_questions.put_anew = self._own


def stated(path: Path) -> dict[tuple[str, int], tuple[str, str]]:
    """(dialogue, user turn) that only state an intent, with (service, intent)."""
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    served = defaultdict(set)
    for row in rows:
        if len(row["services"]) == 1:
            for turn in row["turns"]:
                if turn.get("intent"):
                    served[turn["intent"]].add(row["services"][0])
    found = {}
    for row in rows:
        for number, turn in enumerate(row["turns"][::2]):
            service = served[turn.get("intent")] & set(row["services"])
            if turn["acts"] == ["INFORM_INTENT"] and len(service) == 1:
                found[row["dialogue_id"], number] = (service.pop(), turn["intent"])
    return found


def planted(
    dialogues: list[Dialogue], stated_at: dict, rng: np.random.Generator
) -> tuple[list[Dialogue], dict[tuple[str, int], str]]:
    """Dialogues with repeated questions; the kind by (dialogue, turn) that was answered badly."""
    own = {dialogue.name: dialogue for dialogue in dialogues}
    places = {place: frame for place, frame in stated_at.items() if place[0] in own}
    by_frame = defaultdict(list)
    for (name, number), frame in places.items():
        by_frame[frame].append((name, own[name].turns[number].query))
    n = sum(len(dialogue.turns) - 1 for dialogue in dialogues)
    again: dict[tuple[str, int], tuple[str, str]] = {}
    order = [list(places)[i] for i in rng.permutation(len(places))]
    for name, number in order[: round(REPHRASED * n)]:
        query = own[name].turns[number].query
        others = [
            text
            for other, text in by_frame[places[name, number]]
            if other != name and text != query
        ]
        if others:
            again[name, number] = ("rephrase", others[rng.integers(len(others))])
    everywhere = [(d.name, i) for d in dialogues for i in range(len(d.turns))]
    for i in rng.permutation(len(everywhere))[: round(RESENT * n)]:
        name, number = everywhere[i]
        again.setdefault((name, number), ("regeneration", own[name].turns[number].query))
    truth = {}
    changed = []
    for dialogue in dialogues:
        turns: list[Turn] = []
        for number, turn in enumerate(dialogue.turns):
            if repeated := again.get((dialogue.name, number)):
                truth[dialogue.name, len(turns)] = repeated[0]
                turns += [replace(turn, answer=NOTHING, tools=(), failed=0)]
                turns += [replace(turn, query=repeated[1])]
            else:
                turns.append(turn)
        changed.append(replace(dialogue, turns=tuple(turns)))
    return changed, truth


def sgd_figures(
    data: Path, part: str, seed: int, model: str, scratch: Path, vectors: Path
) -> Iterator[tuple[str, dict]]:
    """Figures of one draw, by what cuts were set to; first as they are."""
    path = data / "sgd" / "dialogues.jsonl"
    dialogues = read_dialogues(path)
    half = np.random.default_rng(20).permutation(len(dialogues)) % 2 == (part == "test")
    rng = np.random.default_rng([seed, 30])
    drawn = [dialogue for dialogue, mine in zip(dialogues, half, strict=True) if mine]
    traffic, told = planted(drawn, stated(path), rng)
    folder = scratch / f"sgd-{part}-{seed}"
    end = write_traffic(traffic, seed, folder / "export")
    settings = filled(folder / "home", folder / "export", model, vectors)
    weeks = [end - timedelta(weeks=week) for week in range(WEEKS)]
    assert min(weeks) > START.replace(tzinfo=None)
    truth = pl.DataFrame(
        [(name, number, kind) for (name, number), kind in told.items()],
        schema={"session_id": pl.String, "turn_index": pl.Int64, "kind": pl.String},
        orient="row",
    ).with_columns(source=pl.lit(signals(settings, weeks)["source"][0]))
    for alarms in (settled := estimates.FALSE_ALARMS, *SWEEP):
        estimates.FALSE_ALARMS = alarms
        rows = signals(settings, weeks)
        figures = {
            name: hit_rates(rows.filter(signal=name), truth.filter(kind=name))
            for name in ("rephrase", "regeneration")
        }
        friction = rows.filter(signal="friction")
        figures["friction"] = {"rows": friction.select(TURN).n_unique(), "precision": None}
        figures["rephrase"] |= ranked(settings, weeks, truth)
        yield f"false alarms {alarms:.2f}", figures
    estimates.FALSE_ALARMS = settled


def ranked(settings: Settings, weeks: list[datetime], truth: pl.DataFrame) -> dict:
    """How similarity ranks next turns: AUC, and the share of real next turns above the cut."""
    scores, kinds, above = [], [], []
    for week in weeks:
        turns = turns_around_week(settings.lake, week, with_answers=False)
        if turns is None:
            continue
        again = repetition(turns, settings, week, redactor(settings.redaction))
        near = (again.pairs["back"] == 1).to_numpy() & np.isfinite(again.similarity)
        rows = turns.with_row_index("row").select("row", *TURN)
        kind = (
            again.pairs.join(rows, on="row", maintain_order="left")
            .join(truth, on=TURN, how="left", maintain_order="left")["kind"]
            .fill_null("next")
            .to_numpy()
        )
        (cut,) = again.cuts.values()
        scores.append(again.similarity[near])
        kinds.append(kind[near])
        above.append(again.similarity[near] >= (np.inf if cut.value is None else cut.value))
    score, kind, high = (np.concatenate(parts) for parts in (scores, kinds, above))
    return {
        "AUC": float(roc_auc_score(kind == "rephrase", score)),
        "real next turns above the cut": float(high[kind == "next"].mean()),
        "prevalence": float((kind == "rephrase").mean()),
    }


SWEEP: list[float] = []


def show(title: str, figures: dict) -> None:
    """Print a table of rates."""
    click.secho(f"\n{title}", bold=True)
    for name, rates in figures.items():
        cells = [
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in rates.items()
            if value is not None
        ]
        click.echo(f"  {name:<42} {'  '.join(cells)}")


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--seeds", default=3)
@click.option("--part", type=click.Choice(["dev", "test"]), default="test")
@click.option("--models", default="all-MiniLM-L6-v2")
@click.option("--sweep", is_flag=True, help="Other cuts too.")
@click.option("--vectors", type=click.Path(path_type=Path), help="Folder that keeps vectors.")
def main(data: Path, seeds: int, part: str, models: str, sweep: bool, vectors: Path | None) -> None:
    """Print and write the figures."""
    if sweep:
        SWEEP.extend((0.02, 0.03, 0.1))
    figures: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        kept = (vectors or scratch / "vectors").absolute()
        kept.mkdir(parents=True, exist_ok=True)
        for model in models.split(","):
            found = sample_figures(model, scratch, kept)
            figures[f"sample, {model}"] = found
            for title in ("for failed", "for its own kind"):
                show(f"sample, {model}: {title}", found[title])
            for seed in range(100, 100 + seeds):
                for name, rates in sgd_figures(data, part, seed, model, scratch / model, kept):
                    figures[f"sgd {part}, {model}, seed {seed}, {name}"] = rates
                    show(f"sgd {part}, {model}, seed {seed}: {name}", rates)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What a score means for the suite: its band, whether it is degraded, and the sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evalcov_pipeline.core.coverage.divergence import DivergenceScore
from evalcov_pipeline.core.statistics.shares import Z95

Band = Literal["good", "watch", "divergent", "severe", "undecidable"]
_WATCH_END, _DIVERGENT_END = 0.3, 0.5
_SIGNIFICANT = 0.05
_POWER_Z = 0.8416


@dataclass(frozen=True)
class Assessment:
    """What a score means.

    Attributes:
        band: by `jsd_adjusted`; None for a suite without cases.
        degraded: whether the suite needs a refresh.
        cases_to_settle: for an undecidable score, about how large the suite has to be for the band
            to be known; None otherwise.
        sentence: the verdict in plain words, any liability first.
    """

    band: Band | None
    degraded: bool
    cases_to_settle: int | None
    sentence: str


def assess_suite(
    divergence: DivergenceScore, liabilities: Mapping[str, float], threshold: float = 0.25
) -> Assessment:
    """Band of a score, and what it means in words.

    Degraded: `jsd_adjusted` at or above the threshold and p_value < 0.05, or any liability. Bands:
    good below the threshold, watch to 0.3, divergent to 0.5, severe above; undecidable where
    p_value >= 0.05 and the interval reaches above the threshold.

    Args:
        divergence: the score.
        liabilities: production share, 0..1, by label of each liability cluster.
        threshold: divergence in bits from which a score is degraded.

    Returns:
        The assessment.
    """
    named = [
        f"{label!r} is {share:.0%} of traffic and no case tests it."
        for label, share in sorted(liabilities.items(), key=lambda item: -item[1])
    ]
    jsd, p_value, high = divergence.jsd_adjusted, divergence.p_value, divergence.ci_high
    if jsd is None or p_value is None or high is None or divergence.ci_low is None:
        sentence = " ".join([*named, f"No divergence: {divergence.reason}."])
        return Assessment(None, bool(liabilities), None, sentence)

    undecidable = p_value >= _SIGNIFICANT and high > threshold
    band: Band = "undecidable" if undecidable else _band(jsd, threshold)
    cases = _cases_to_settle(divergence, threshold) if undecidable else None
    figures = f"divergence {jsd:.2f} ({divergence.ci_low:.2f} to {high:.2f})"
    meaning = f"{band.capitalize()}: {figures}"
    if undecidable:
        meaning += f" with {divergence.n_eval} cases; about {cases} would settle it"
    degraded = bool(liabilities) or (jsd >= threshold and p_value < _SIGNIFICANT)
    return Assessment(band, degraded, cases, " ".join([*named, f"{meaning}."]))


def _band(jsd: float, threshold: float) -> Band:
    if jsd < threshold:
        return "good"
    if jsd < _WATCH_END:
        return "watch"
    return "divergent" if jsd <= _DIVERGENT_END else "severe"


def _cases_to_settle(score: DivergenceScore, threshold: float) -> int | None:
    """Suite size that would settle the band in 4 of 5 suites of this `jsd_adjusted`.

    Settled is significant, or an interval below the threshold. With x = sqrt(n now / n then), the
    null's excess over its mean shrinks by x^2, the interval and the score's own error by x.
    """
    adjusted, low, high = score.jsd_adjusted, score.ci_low, score.ci_high
    mean, p95 = score.null_mean, score.null_p95
    if adjusted is None or low is None or high is None or mean is None or p95 is None:
        return None
    slack, excess = _POWER_Z * (high - low) / (2 * Z95), p95 - mean
    to_significance = 2 * adjusted / (slack + math.sqrt(slack**2 + 4 * excess * adjusted))
    to_below = (threshold - adjusted) / (high - adjusted + slack)
    return max(score.n_eval + 1, math.ceil(score.n_eval / max(to_significance, to_below) ** 2))

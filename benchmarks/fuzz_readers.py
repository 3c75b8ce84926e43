"""Read many hostile files, and hold every reader to what it promises.

The files are those of `evalcov_pipeline_tests/hostile_files.py`: arbitrary bytes, valid files with
flipped bits and missing pieces, values of any type at random places, tables of any cells, plain or
packed, damaged before or after packing. A reader must end, must yield only rows of its schema or
rejects in a user's words, must account for every row where rows can be counted, and may raise
nothing but BadInput. A file that breaks a promise is made as small as it can be, and printed.

Usage: python benchmarks/fuzz_readers.py --inputs 100000 [--seed 1] [--kinds otlp traces]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from evalcov_pipeline_tests.hostile_files import KINDS, HostileFile, hostile_files, survives

OUT = Path(__file__).parent / "out" / "fuzz_readers.json"
ROUND = 2_500
"""Files per round; each round has a seed of its own, and ends at the first broken promise."""


def fuzz(kind: str, inputs: int, first_seed: int, folder: Path) -> dict[str, Any]:
    """Read hostile files of a kind; counts of what came of them, and the promises broken."""
    outcomes: Counter[str] = Counter()
    broken: list[dict[str, Any]] = []
    slowest = 0.0
    for number in range(-(-inputs // ROUND)):

        @seed(first_seed + number)
        @settings(
            max_examples=min(ROUND, inputs - number * ROUND),
            phases=[Phase.generate, Phase.shrink],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(hostile_files(kind))
        def read(file: HostileFile) -> None:
            nonlocal slowest
            started = time.perf_counter()
            outcome = "broken"
            try:
                outcome = survives(kind, file, folder)
            finally:
                outcomes[outcome] += 1
                slowest = max(slowest, time.perf_counter() - started)

        try:
            read()
        except Exception as error:
            traceback.print_exc()
            broken.append({"seed": first_seed + number, "error": repr(error)})
    return {
        "kind": kind,
        "files": outcomes.total(),
        **{name: outcomes[name] for name in ("refused", "in part", "read")},
        "promises_broken": len(broken),
        "slowest_s": round(slowest, 2),
        "broken": broken,
    }


def main() -> None:
    """Print a row per kind of file and write all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="files in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    print(
        f"{'kind':11} {'files':>8} {'refused':>8} {'in part':>8} {'read':>8} {'broken':>7}  slowest"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            row = fuzz(kind, options.inputs // len(options.kinds), options.seed, Path(folder))
            print(
                f"{kind:11} {row['files']:8} {row['refused']:8} {row['in part']:8} {row['read']:8}"
                f" {row['promises_broken']:7}  {row['slowest_s']:.2f} s",
                flush=True,
            )
            rows.append(row)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"seed": options.seed, "rows": rows}, indent=2))
    print(f"\nwritten to {OUT}")


if __name__ == "__main__":
    main()

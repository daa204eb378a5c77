"""How long importing takes: torch alone, and the pipeline, in fresh processes by turns.

The table import_time.csv has the median seconds of each, and their ratio to torch's own in the same round.

    .venv/bin/python benchmarks/import_time.py --out runs/full/reference
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from mvtec_xai.blocks.runs import atomic_path

TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
STATEMENTS = {
    "torch": "import torch",
    "package": "import mvtec_xai",
    "pipeline": "from mvtec_xai import InspectionPipeline",
    "command line": "import mvtec_xai.tools.cli",
}


def seconds(statement: str) -> float:
    "Time a statement in a process of its own."
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    rounds = pd.DataFrame([{n: seconds(s) for n, s in STATEMENTS.items()} for _ in range(args.rounds)])
    over = rounds.sub(rounds.torch, axis=0).clip(lower=0)
    table = pd.DataFrame(
        {
            "seconds": rounds.median(),
            "over_torch": over.median(),
            "ratio": rounds.div(rounds.torch, axis=0).median(),
        }
    )
    with atomic_path(args.out / "import_time.csv") as path:
        table.rename_axis("import").assign(rounds=args.rounds).to_csv(path, float_format="%.4g")
    print(table.round(2))


if __name__ == "__main__":
    main()

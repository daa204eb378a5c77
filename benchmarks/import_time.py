"""How long importing takes: torch alone, the pipeline, and errors of wrong use, in fresh processes by turns.

The table import_time.csv has the median seconds of each, and their ratio to torch's own in the same round.

    .venv/bin/python benchmarks/import_time.py --out runs/full/reference
"""

import argparse
import subprocess
import sys
import time
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
WRONG = {  # commands that are refused
    "inspect, no such run": ("inspect", "photographs", "--run", "nowhere", "--out", "nowhere"),
    "inspect, no such image": ("inspect", "nowhere.png", "--run", ".", "--out", "nowhere"),
    "inspect, no such language": ("inspect", ".", "--run", ".", "--out", "nowhere", "--language", "xx"),
    "learn, no such folder": ("learn", "nowhere", "--out", "nowhere"),
    "app, no such run": ("app", "--run", "nowhere"),
    "reproduce, no such category": ("reproduce", "--categories", "banana"),
    "reproduce, no such data": ("reproduce", "--profile", "full", "--data", "nowhere"),
}


def seconds(statement: str) -> float:
    "Time a statement in a process of its own."
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def seconds_to_refuse(command: tuple[str, ...]) -> float:
    "Time a command that is refused, from its start to its end."
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "mvtec_xai", *command], capture_output=True)
    if done.returncode != 2:
        raise RuntimeError(f"{' '.join(command)}: was not refused")
    return time.perf_counter() - start


def one_round() -> dict[str, float]:
    "Seconds of everything, once."
    return {n: seconds(s) for n, s in STATEMENTS.items()} | {
        n: seconds_to_refuse(c) for n, c in WRONG.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    rounds = pd.DataFrame([one_round() for _ in range(args.rounds)])
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

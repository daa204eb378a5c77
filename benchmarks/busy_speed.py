"""How fast `inspect` is alone, and beside one and two programs that keep a processor each.

The same images, written out, by processes that were started beforehand and are asked by turns: one as torch and glibc are without a
word from us, one in which waiting threads sleep, and one as the commands are (`blocks.machine`), which keeps freed memory as well.
busy_speed.csv has, for each and for each number of busy programs, the median milliseconds an image, the same in processor's time,
the page faults of an image, the median of the ratios to `without settings` in the same round and to the same process alone, and the
most memory that it took (Linux only). Whatever else the machine does meanwhile is in all of them: compare ratios, not milliseconds.

    .venv/bin/python benchmarks/busy_speed.py --run runs/full --images mvtec_ad/screw/test --out runs/full/reference
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from mvtec_xai.blocks.machine import KEEPING, OWN_WAITING, WAITING, share_machine  # nothing that loads torch

BEFORE, NOW = "without settings", "as the commands are"
SETTINGS = {
    BEFORE: lambda: None,
    "waiting threads sleep": lambda: os.environ.update(WAITING),
    NOW: share_machine,
}
MEASURED = ["ms_per_image", "processor_ms", "page_faults", "peak_mb"]


def work(run: Path, folder: Path, number: int, category: str, setting: str) -> None:
    "Inspect the images once for each line that comes in, and print what it cost; in a process of its own."
    SETTINGS[setting]()
    import resource

    from mvtec_xai.pipeline import InspectionPipeline
    from mvtec_xai.tools.files import find_images
    from mvtec_xai.tools.inspection import inspect_files
    from mvtec_xai.tools.outcome import Teller

    pipeline = InspectionPipeline.from_pretrained(run)
    files = dict(islice(find_images([folder]).items(), number))
    faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in sys.stdin:
        start = time.perf_counter(), time.process_time(), faults()
        with tempfile.TemporaryDirectory() as out:
            inspect_files(pipeline, files, out, category, teller=Teller(quiet=True))
        end = time.perf_counter(), time.process_time(), faults()
        seconds, processor, paged = np.subtract(end, start) / len(files)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(1000 * seconds, 1000 * processor, paged, peak, flush=True)


def started(args: argparse.Namespace) -> dict[str, subprocess.Popen]:
    "The processes that inspect, by their setting, warmed up; the environment says nothing of threads and memory."
    ours = {*OWN_WAITING, *KEEPING, "OMP_NUM_THREADS"}
    plain = {name: value for name, value in os.environ.items() if name not in ours}
    about = [args.run, "--images", args.images, "--number", args.number, "--category", args.category]
    command = [sys.executable, __file__, "--run", *map(str, about), "--setting"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": plain}
    found = {}
    for setting in SETTINGS:
        found[setting] = subprocess.Popen([*command, setting], **pipes)
        ask(found[setting])
    return found


def ask(process: subprocess.Popen) -> list[float]:
    "Let a process inspect; its MEASURED."
    process.stdin.write("go\n")
    process.stdin.flush()
    return [float(number) for number in process.stdout.readline().split()]


def measure(processes: dict[str, subprocess.Popen], most: int, rounds: int) -> pd.DataFrame:
    "A row for each setting, number of busy programs and round."
    rows = []
    for turn in range(rounds):
        for busy in range(most + 1):
            beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                for setting in [*processes][turn % 3 :] + [*processes][: turn % 3]:
                    rows.append((setting, busy, turn, *ask(processes[setting])))
            finally:
                for program in beside:
                    program.kill()
                    program.wait()
            print(*rows[-len(processes) :], sep="\n", flush=True)
    return pd.DataFrame(rows, columns=["setting", "busy_programs", "round", *MEASURED])


def compared(measured: pd.DataFrame) -> pd.DataFrame:
    "The table: medians of the rounds, and of the ratios within a round."
    keys = ["busy_programs", "setting"]
    seconds = measured.set_index([*keys, "round"]).ms_per_image
    table = measured.groupby(keys)[MEASURED].median()
    before = seconds.xs(BEFORE, level="setting")
    table["ratio_to_before"] = (seconds / before).groupby(keys).median()
    table["times_alone"] = (seconds / seconds.xs(0, level="busy_programs")).groupby(keys).median()
    return table.reset_index().assign(rounds=measured["round"].nunique(), processors=os.cpu_count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/sample"), help="a finished run")
    parser.add_argument("--images", type=Path, default=Path("runs/sample/sample/screw/test"), help="a folder")
    parser.add_argument("--out", type=Path, help="folder of the table")
    parser.add_argument("--category", default="screw")
    parser.add_argument("--number", type=int, default=24, help="images")
    parser.add_argument("--busy", type=int, default=2, help="busy programs, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--setting", help=argparse.SUPPRESS)  # of a process that was started from here
    args = parser.parse_args()
    if args.setting:
        work(args.run, args.images, args.number, args.category, args.setting)
        return
    processes = started(args)
    try:
        table = compared(measure(processes, args.busy, args.rounds))
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    from mvtec_xai.blocks.runs import (
        atomic_path,
    )  # it loads torch, of which the settings have to be made before

    print(table.round(2).to_string(index=False))
    with atomic_path(args.out / "busy_speed.csv") as tmp:
        table.to_csv(tmp, index=False)


if __name__ == "__main__":
    main()

"""What a large inspection costs the process that hands out the work, and whether it loses or doubles an image when processes die.

First a million paths are listed, named, cut into shards, handed out and taken back, in a process of its own. Folders and names are
made up where the disk would be asked, and two stand-ins take the place of the workers; all else is as in `inspect --workers 2`. With
--before, a folder that holds an earlier version of the package, the same is done with that, for the ratio.

Then images are inspected again and again under names of their own, each hundredth of them broken, by two workers: one worker is ended
(`kill -9`) twice, the process that hands out once; then `resume`. The same images, or the first --compared of them, are inspected by
one process as well. large.csv has a measurement a row: how many images it was about, how much of what unit, and the floor and target
that were set for it. Seconds of a busy machine say little; so time is processor's time, and its ratio.

    .venv/bin/python benchmarks/large.py --run runs/full --images mvtec_ad/screw/test/good --out runs/full/reference
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from itertools import cycle, islice
from pathlib import Path
from unittest import mock

import pandas as pd
import psutil

SEEN = (
    0.2,
    0.4,
    0.6,
)  # shares of the images after which a worker, a worker and the one who hands out are ended
TIMES = ("ms", "timings")
A_FOLDER = 250  # images


def peak() -> float:
    "The most memory that this process has had, in MB (Linux)."
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up(number: int):
    "In place of `os.walk`: folders of A_FOLDER images until there are `number`."

    def walk(root, **_):
        for k in range(-(-number // A_FOLDER)):
            names = [f"part_{n:07}.png" for n in range(k * A_FOLDER, min(number, (k + 1) * A_FOLDER))]
            yield f"{root}/line_{k % 8}/shift_{k:05}", [], names

    return walk


class Idle:
    "In place of a worker: a line for each image."

    process = mock.Mock()

    def do(self, files, *_) -> list[str]:
        return [json.dumps({"path": str(path), "name": name}) for path, name in files.items()]


def listing(number: int) -> dict:
    "List and hand out `number` made-up paths; memory and processor's time."
    from mvtec_xai.tools import inspection, workers
    from mvtec_xai.tools.files import named_images, search_images

    found, start = {"before_mb": peak()}, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        there = [
            mock.patch.object(Path, "is_file", lambda _: True),
            mock.patch("os.path.isfile", lambda _: True),
        ]
        with there[0], there[1], mock.patch("os.walk", made_up(number)):
            listed = search_images([folder])
        files = inspection._left_to_do(named_images(listed, [folder]), Path(folder) / "no lines")
        found |= {"listed_mb": peak(), "list_s": time.process_time() - start}
        through = workers.Workers(2, "no run")
        through.worker = lambda _: nullcontext(Idle())
        handed = sum(1 for _ in through(None, files, Path(folder)))
    found |= {"handed_mb": peak(), "all_s": time.process_time() - start}
    if handed != number:
        raise RuntimeError(f"{handed} of {number} paths were handed out")
    return found


def call(*words, code: Path | None = None) -> subprocess.Popen:
    "This script in a process of its own, with the package of another folder where one is named."
    path = [str(code or Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, env=environment
    )


def printed(process: subprocess.Popen) -> bytes:
    "What such a process has printed when it ends; RuntimeError if it failed."
    text = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{process.args}: ended with {process.returncode}")
    return text


def listed_rows(number: int, before: Path | None) -> list[tuple]:
    "Rows of the table about listing."
    now = json.loads(printed(call("--listing", number)))
    rows = [
        ("memory of the process that hands out, at most", number, now["handed_mb"], "MB", 2000, 500),
        ("of it before the first path", number, now["before_mb"], "MB", None, None),
        ("of it once all are listed", number, now["listed_mb"], "MB", None, None),
        ("processor's time to list", number, now["list_s"], "s", None, None),
        ("processor's time to list, hand out and take back", number, now["all_s"], "s", None, None),
    ]
    if before:
        then = json.loads(printed(call("--listing", number, code=before)))
        rows += [
            ("memory, in the version before", number, then["handed_mb"], "MB", None, None),
            (
                "what paths add to memory, times the version before",
                number,
                added(now) / added(then),
                "",
                None,
                None,
            ),
            (
                "time to list, times the version before",
                number,
                now["list_s"] / then["list_s"],
                "",
                None,
                None,
            ),
            ("time of all, times the version before", number, now["all_s"] / then["all_s"], "", None, None),
        ]
    return rows


def added(found: dict) -> float:
    "What the paths add to memory, in MB."
    return found["handed_mb"] - found["before_mb"]


def repeated(images: list[Path], folder: Path, number: int) -> None:
    "Fill a folder, in folders of A_FOLDER, with links to the images again and again; each hundredth is broken."
    from mvtec_xai.tools.files import find_images

    for k, source in zip(range(number), cycle(find_images(images))):
        place = folder / f"{k // A_FOLDER:05}" / f"{k:07}{source.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if k % 100 == 50:
            place.write_bytes(b"no picture")
        else:
            place.symlink_to(source)


def inspect(run: Path, folder: Path, out: Path, category: str, workers: int, most: int | None) -> None:
    "Inspect a folder, or its first images, or go on with it."
    from mvtec_xai.pipeline import InspectionPipeline
    from mvtec_xai.tools.files import find_images
    from mvtec_xai.tools.inspection import inspect_files
    from mvtec_xai.tools.outcome import Teller
    from mvtec_xai.tools.workers import Workers

    through = Workers(workers, run) if workers > 1 else None
    pipeline, how = (
        InspectionPipeline.from_pretrained(run),
        {"teller": Teller(quiet=True), "through": through},
    )
    files = dict(islice(find_images([folder]).items(), most))
    inspect_files(pipeline, files, out, category, resume=True, **how)


def finished(out: Path) -> int:
    "How many lines there are."
    part = out / "inspections.jsonl.part"
    return part.read_bytes().count(b"\n") if part.is_file() else 0


def end_one_of(process: subprocess.Popen) -> None:
    "End a worker of a process."
    children = psutil.Process(process.pid).children(recursive=True)
    [p for p in children if "spawn_main" in " ".join(p.cmdline())][0].kill()


def disturbed(words: list, out: Path, number: int) -> Counter:
    "Inspect by two workers, two of which are ended, and go on after the one who hands out was; how many were ended."
    process, ended = call(*words), Counter()
    for share, end in zip(SEEN, (end_one_of, end_one_of, subprocess.Popen.kill), strict=True):
        while finished(out) < share * number:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args}: ended before it was disturbed; name more --number")
            time.sleep(0.1)
        end(process)
        ended[end.__name__] += 1
    process.wait()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{process.args}: was to be killed, and ended with {process.returncode}")
    printed(call(*words))
    return ended


def lines_of(out: Path) -> list[dict]:
    "The lines of an inspection, by path, without what takes another time each time."
    with open(out / "inspections.jsonl", encoding="utf-8") as text:
        lines = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in text]
    return sorted(lines, key=lambda line: line["path"])


def inspected_rows(args: argparse.Namespace, folder: Path) -> list[tuple]:
    "Rows of the table about an inspection whose processes die."
    images, several, alone = folder / "images", folder / "several", folder / "alone"
    repeated(args.images, images, args.number)
    words = ["--inspect", images, "--run", args.run, "--category", args.category]
    ended = disturbed([*words, "--workers", 2, "--into", several], several, args.number)
    printed(call(*words, "--workers", 1, "--into", alone, "--compared", args.compared or args.number))
    found, expected = lines_of(several), lines_of(alone)
    paths, by_path = Counter(line["path"] for line in found), {line["path"]: line for line in found}
    wanted = {str(p) for p in images.rglob("*.*")}
    failed = sum(line.get("status") == "error" for line in found)
    differ = sum(by_path.get(line["path"]) != line for line in expected)
    rows = [
        ("workers that were ended", ended["end_one_of"], "processes", None),
        ("processes that hand out that were ended", ended["kill"], "processes", None),
        ("broken images, which are rows with an error", failed, "images", None),
        ("rows", len(found), "rows", args.number),
        ("images without a row", len(wanted - set(paths)), "images", 0),
        ("images with more than one row", sum(n > 1 for n in paths.values()), "images", 0),
    ]
    rows = [(what, args.number, amount, unit, floor, None) for what, amount, unit, floor in rows]
    return [*rows, ("rows that are not those of one process", len(expected), differ, "rows", 0, None)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/sample"), help="a finished run")
    parser.add_argument(
        "--images", type=Path, nargs="+", help="images or folders of one category, to be repeated"
    )
    parser.add_argument(
        "--category", help="of the images; default: as their folder is called, else by the model"
    )
    parser.add_argument("--out", type=Path, help="folder of the table")
    parser.add_argument("--paths", type=int, default=1_000_000, help="to be listed")
    parser.add_argument("--number", type=int, default=100_000, help="images to be inspected; 0: none")
    parser.add_argument(
        "--before", type=Path, help="folder of an earlier version of the package, for the ratios"
    )
    parser.add_argument("--compared", type=int, help="with the rows of one process; default: all")
    for name in ("--listing", "--inspect", "--into", "--workers"):  # of a process that was started from here
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.listing:
        print(json.dumps(listing(int(args.listing))))
        return
    if args.inspect:
        category = None if args.category == "None" else args.category
        inspect(args.run, Path(args.inspect), Path(args.into), category, int(args.workers), args.compared)
        return
    rows = listed_rows(args.paths, args.before)
    if args.number:
        with tempfile.TemporaryDirectory() as folder:
            rows += inspected_rows(args, Path(folder))
    table = pd.DataFrame(rows, columns=["what", "images", "amount", "unit", "floor", "target"])
    print(table.to_string(index=False))
    args.out.mkdir(parents=True, exist_ok=True)
    table.round(3).to_csv(args.out / "large.csv", index=False)


if __name__ == "__main__":
    main()

"""How fast `inspect` is, beside the bare forward pass of the same backbone, and how its time and memory grow.

First part: the images of a folder, in one process, in alternating rounds: the backbone alone on images that are already
decoded (as timm gives it, one image at a time or sixteen, whichever is faster), `judge` (decode, decide, write nothing), and
`inspect_files` (rows, thumbnails, gallery too). Once all images are taken for normal, which ends with the detector, and once
for defective, which adds heatmap, region, type and neighbours: the thresholds are set so, whatever the images show.
inspect_speed.csv has milliseconds an image, the median of the rounds, the same in processor's time, which other programs on the
machine disturb less, and the ratio of either to the bare pass.

Second part: `inspect_files` on so many images as `--counts` and `--defective-counts` say, the same ones under many names, each in a
process of its own. inspect_growth.csv has milliseconds an image, with all that is written at the end; the same of the first and of
the last tenth of the rows, which one compares in a noisy place; and peak memory (as Linux tells it).

    .venv/bin/python benchmarks/inspect_speed.py --run runs/full --images mvtec_ad/screw/test --out runs/full/reference \\
        --counts 100 1000 10000
"""

import argparse
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mvtec_xai.blocks.runs import atomic_path
from mvtec_xai.classifier import load_extractor
from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.tools.files import find_images
from mvtec_xai.tools.inspection import LINES, inspect_files, judge, read_lines

KINDS = {"normal": (2.0, 2.0), "defective": (-2.0, -1.0)}  # thresholds that make every image so


def loaded(run: Path, kind: str) -> InspectionPipeline:
    "The pipeline of `run`, taking every image for `kind`."
    pipeline = InspectionPipeline.from_pretrained(run)
    for chosen in pipeline.stages["detect"].thresholds.values():
        chosen |= dict(zip(("low", "high"), KINDS[kind], strict=True))
    return pipeline


def timed(work) -> tuple[float, float]:
    "(seconds, processor's seconds) of `work()`."
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def write_into_nothing(pipeline: InspectionPipeline, files: dict[Path, str], category: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        inspect_files(pipeline, files, out, category)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as tmp:
        table.to_csv(tmp, index=False)
    print(table.round(2).to_string(index=False), flush=True)


def bare_pass(run: Path, pipeline: InspectionPipeline, files: dict[Path, str]):
    "A function that passes all `files` through the backbone as timm gives it, in the faster of two batch sizes."
    backbone = load_extractor(run / "01_classifier").backbone
    pictures = torch.from_numpy(np.stack([pipeline.read(f) for f in files])).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def go(batch: int, count: int | None = None) -> None:
        for part in pictures[:count].split(batch):
            backbone(part.float() / 255)

    go(16, 32), go(1, 32)
    batch = min((1, 16), key=lambda b: min(timed(lambda: go(b, 32))[0] for _ in range(2)))
    print(f"bare forward pass: batches of {batch}")
    return lambda: go(batch)


def compare(run: Path, files: dict[Path, str], category: str, rounds: int) -> pd.DataFrame:
    "The table of the first part."
    pipelines = {kind: loaded(run, kind) for kind in KINDS}
    work = {"bare forward pass": bare_pass(run, pipelines["normal"], files)}
    for kind, pipeline in pipelines.items():
        work[f"{kind}, without writing"] = lambda p=pipeline: sum(1 for _ in judge(p, files, category))
        work[f"{kind}, with writing"] = lambda p=pipeline: write_into_nothing(p, files, category)
    seconds = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, do in work.items():
            spent = timed(do)
            if turn:  # the first round warms up
                seconds[name].append(spent)
    table = pd.DataFrame(
        {name: 1000 * np.median(spent, axis=0) / len(files) for name, spent in seconds.items()}
    ).T
    table.columns = ["ms_per_image", "processor_ms"]
    ratio = (table / table.loc["bare forward pass"]).set_axis(["ratio", "processor_ratio"], axis=1)
    return (
        table.join(ratio)
        .rename_axis("work")
        .reset_index()
        .assign(size=pipelines["normal"].image_size, images=len(files))
    )


def grow(run: Path, kind: str, folder: Path, count: int, category: str) -> dict:
    "The row of inspecting `count` images, with their pictures and rows written; for a process of its own."
    pipeline, originals = loaded(run, kind), list(find_images([folder]))
    with tempfile.TemporaryDirectory() as tmp:
        copies, many = Path(tmp) / "copies", Path(tmp) / "many"
        copies.mkdir(), many.mkdir()
        held = [Path(shutil.copy(f, copies / f"{k}{f.suffix}")) for k, f in enumerate(originals[:count])]
        for k, file in enumerate(islice(cycle(held), count)):
            os.link(file, many / f"{k:05}{file.suffix}")
        spent, _ = timed(lambda: inspect_files(pipeline, find_images([many]), Path(tmp) / "out", category))
        ms = np.array([line["ms"] for line in read_lines(Path(tmp) / "out" / LINES)])
    peak = re.search(
        r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()
    )  # ru_maxrss would count the parent's memory too
    ends = {"first_tenth_ms": ms[: count // 10].mean(), "last_tenth_ms": ms[-(count // 10) :].mean()}
    return {
        "kind": kind,
        "images": count,
        "ms_per_image": 1000 * spent / count,
        **ends,
        "peak_mb": int(peak[1]) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/sample"), help="a finished run")
    parser.add_argument("--images", type=Path, default=Path("runs/sample/sample/screw/test"), help="a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--category", default="screw")
    parser.add_argument("--number", type=int, default=60, help="images of the first part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000], help="of the second part")
    parser.add_argument(
        "--defective-counts", type=int, nargs="*", default=[100, 1000], help="the same for defective ones"
    )
    args = parser.parse_args()
    files = dict(islice(find_images([args.images]).items(), args.number))
    write_csv(args.out / "inspect_speed.csv", compare(args.run, files, args.category, args.rounds))
    spawned, rows = multiprocessing.get_context("spawn"), []
    for kind, counts in (("normal", args.counts), ("defective", args.defective_counts)):
        for count in counts:
            with spawned.Pool(1) as pool:
                rows.append(pool.apply(grow, (args.run, kind, args.images, count, args.category)))
            write_csv(args.out / "inspect_growth.csv", pd.DataFrame(rows))


if __name__ == "__main__":
    main()

"""How fast PatchCore and PaDiM are, beside the detector of a run and the bare backbone: reference_speed.csv.

All work alternately, in one process, on the same 32 test images of one category in batches of 16: anomalib's models at `--size`, the
detector at its own size, the backbone at both. `ms_per_image` is the median of the rounds, `ratio` that to the backbone at the same
size, `model_mb` what the tensors of the model take, `peak_mb` the most memory that the process, with all models in it, took
meanwhile (Linux only). Environment and options are those of `benchmarks/reference.py`, but phase 01 must be done.

    .venv-reference/bin/python benchmarks/reference_speed.py --run runs/full --out runs/full/reference --categories screw
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reference import BATCH, Reference, main, write_csv

from mvtec_xai.classifier import describe_images, load_detector, score_maps

ROUNDS, STATUS = 7, Path("/proc/self/status")


def peak_mb() -> float:
    "The most memory since `restart_peak`; nan where there is no /proc."
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def restart_peak() -> None:
    "Let the count of `peak_mb` begin anew, by what Linux offers for that."
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


@torch.no_grad()
def compare_speed(reference: Reference, args: argparse.Namespace) -> None:
    "Write the table for the first of the categories."
    category = (args.categories or list(reference.index.category.unique()))[0]
    detector, backbone = (
        load_detector(args.run / "01_classifier", category, extractor=reference.extractor),
        reference.extractor.backbone,
    )
    test, images = (found[:32] for found in reference.load(category, "test"))
    own = np.array(reference.cache.images[test.index])
    models = {method: reference.fit(method, category)[0] for method in args.methods}
    jobs = [
        (name, model, images, lambda i, model=model: reference.judge(model, i))
        for name, model in models.items()
    ]
    jobs += [
        ("detector", detector, own, lambda i: score_maps(detector.heads, describe_images(detector, i, BATCH)))
    ]
    bare = lambda i: [backbone(x).cpu() for x in reference.batches(i)]
    jobs += [("backbone", backbone, i, bare) for i in {images.shape: images, own.shape: own}.values()]
    ms, peak = np.zeros((2, ROUNDS + 1, len(jobs)))
    for r in range(ROUNDS + 1):
        for k, (_, _, seen, work) in enumerate(jobs):
            restart_peak()
            start = time.perf_counter()
            work(seen)
            ms[r, k], peak[r, k] = 1000 * (time.perf_counter() - start) / len(seen), peak_mb()
    ms, peak = ms[1:], peak[1:]  # the first round warmed up
    base = {seen.shape[1]: ms[:, k] for k, (name, _, seen, _) in enumerate(jobs) if name == "backbone"}
    table = pd.DataFrame([(name, seen.shape[1]) for name, _, seen, _ in jobs], columns=["method", "size"])
    table["ms_per_image"] = np.median(ms, axis=0)
    table["ratio"] = [np.median(ms[:, k] / base[size]) for k, size in enumerate(table["size"])]
    table["model_mb"] = [
        sum(t.nbytes for t in model.state_dict().values()) / 2**20 for _, model, _, _ in jobs
    ]
    table["peak_mb"] = peak.max(axis=0)
    write_csv(args.out / "reference_speed.csv", table)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main(__doc__, compare_speed)

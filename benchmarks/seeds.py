"""How much do phase 01's figures change with the seed, which deals folds and begins weights?

Reads detection.csv of runs that differ in their seed alone; the first may have more categories than the others. seeds.csv has a row for
each seed and category that all have, and the means.

    .venv/bin/mvtec-xai reproduce --profile full --data mvtec_ad --categories cable,pill,screw --seed 1 --run runs/seed1 --only 00
                                                                            # and --only 01; another seed likewise
    .venv/bin/python benchmarks/seeds.py runs/full runs/seed1 runs/seed2 --out runs/full/reference
"""

import argparse
from pathlib import Path

import pandas as pd

from mvtec_xai.blocks.runs import atomic_path, read_json

MEASURES = ["image_auroc", "f1", "ece", "ambiguous"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="runs whose phase 01 is done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    found = []
    for run in args.runs:
        table = pd.read_csv(run / "figures" / "tables" / "detection.csv").query("category != 'mean'")
        seed = read_json(run / "manifest.json")["seed"]
        found.append(table[["category", "images", *MEASURES]].assign(seed=seed))
    table = pd.concat(found)
    table = table[table.groupby("category").seed.transform("nunique") == len(args.runs)]
    mean = table.groupby("seed").agg({"images": "sum", **dict.fromkeys(MEASURES, "mean")}).reset_index()
    table = pd.concat([table, mean.assign(category="mean")])[["category", "seed", "images", *MEASURES]]
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out / "seeds.csv") as path:
        table.sort_values(["category", "seed"]).to_csv(path, index=False, float_format="%.6g")
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()

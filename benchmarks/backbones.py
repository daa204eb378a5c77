"""Runs with different backbones in one table: what phases 01 and 02 of each measured, and how long they took.

Reads the tables of each run and its manifest, writes backbones.csv into `--out`. The runs must be of the same images.

    .venv/bin/mvtec-xai reproduce --profile full --data mvtec_ad --run runs/vit --only 00 --image-size 280 \\
        --backbone vit_small_patch14_dinov2 --weights FILE          # and --only 01, --only 02
    .venv/bin/python benchmarks/backbones.py runs/full runs/vit --out runs/full/reference
"""

import argparse
from pathlib import Path

import pandas as pd

from mvtec_xai.blocks.runs import atomic_path, read_json, read_table

MEASURES = {
    "detection": [
        "image_auroc",
        "auroc_low",
        "auroc_high",
        "f1",
        "f1_low",
        "f1_high",
        "ece",
        "ambiguous",
        "probe_auroc",
    ],
    "localisation": [
        "pixel_auroc",
        "pixel_auroc_low",
        "pixel_auroc_high",
        "aupro",
        "aupro_low",
        "aupro_high",
        "pointing",
    ],
}


def row_of(run: Path) -> dict:
    "The row of a run: means of the categories, and the least category of either AUROC."
    config, manifest = read_json(run / "01_classifier" / "config.json"), read_json(run / "manifest.json")
    row = {"backbone": config["backbone"], "image_size": config["image_size"]}
    for table, measures in MEASURES.items():
        measured = pd.read_csv(run / "figures" / "tables" / f"{table}.csv").set_index("category")
        row |= {"images": int(measured.loc["mean", "images"])} if "images" in measured else {}
        row |= measured.loc["mean", measures].to_dict()
        row[f"least_{measures[0]}"] = measured[measures[0]].drop("mean").min()
    return row | {
        "seconds": sum(manifest["phases"][phase]["seconds"] for phase in ("01_classifier", "02_gradcam"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="runs whose phases 00 to 02 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    if len({frozenset(read_table(run / "00_data" / "index.parquet").image_id) for run in args.runs}) > 1:
        parser.error("these runs are of different images, so their figures cannot stand side by side")
    table = pd.DataFrame([row_of(run) for run in args.runs])
    with atomic_path(args.out / "backbones.csv") as path:
        table.to_csv(path, index=False)
    print(table.T.to_string())


if __name__ == "__main__":
    main()

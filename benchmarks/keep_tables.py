"""Copy what may be published of a run on real images to figures/mvtec_ad, whence READMEs, report and site have it.

Tables: those that lie there are brought up to date, from the run's own and those that benchmarks wrote into RUN/reference; `--add`
names further ones. Only numbers are kept: columns that name single images stay in the run. A table that the run lacks stays as it
was and is named. Plots: those of PLOTS, which have no photograph in them. And of the manifest what the report tells: settings,
versions, and what each phase took. Afterwards `python tests/test_readme.py` writes the READMEs' results.

    .venv/bin/python benchmarks/keep_tables.py --run runs/full --add inspect_speed inspect_growth
"""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from mvtec_xai.blocks.runs import atomic_path, read_json, read_table, write_json
from mvtec_xai.tools.report import parameters_of

PLOTS = [  # only what the report shows, and nothing with pixels of the data set
    "data_defect_area",
    "detection_probabilities",
    "detection_confidence",
    "detection_area",
    "localisation",
    "segmentation",
    "verification",
    "types",
    "types_few_shot",
    "atlas_umap",
    "atlas_all",
    "verdicts",
    "few_good_parts",
    "unseen_types",
    "text_search_types",
    "unseen_names",
]
PLACES = {"run", "figures", "data", "weights", "language"}  # parameters that say where, not how
KEPT = Path(__file__).parents[1] / "figures" / "mvtec_ad" / "tables"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run")
    parser.add_argument("--add", nargs="*", default=[], help="names of tables that are not kept yet")
    args = parser.parse_args()
    index, settings = (
        read_table(args.run / "00_data" / "index.parquet"),
        read_json(args.run / "01_classifier" / "config.json"),
    )
    for name in sorted({p.stem for p in KEPT.glob("*.csv")} | set(args.add)):
        written = [
            p
            for p in (args.run / place / f"{name}.csv" for place in ("reference", "figures/tables"))
            if p.is_file()
        ]
        if not written:
            print(f"{name}: not in this run, left as it was")
            continue
        table = pd.read_csv(written[0], dtype=str, keep_default_na=False)  # digits as they were written
        with atomic_path(KEPT / f"{name}.csv") as path:
            table.drop(columns=["image", "nearest"], errors="ignore").to_csv(path, index=False)
    about = {
        "categories": sorted(set(index.category)),
        "image_size": settings["image_size"],
        "folds": int(index.fold.max()) + 1,
    }
    fingerprint = read_json(args.run / "00_data" / "cache" / "cache.json")["fingerprint"]
    write_json(KEPT / "about.json", about | {"seed": settings["seed"], "fingerprint": fingerprint})
    for name in PLOTS:
        if (args.run / "figures" / f"{name}.png").is_file():  # else it stays as it was
            shutil.copy(args.run / "figures" / f"{name}.png", KEPT.parent / f"{name}.png")
    write_json(KEPT.parent / "manifest.json", told_of(args.run))


def told_of(run: Path) -> dict:
    "What the report says of a run: no paths, nothing of the machine but its device."
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    kept = {
        k: manifest[k] for k in ("profile", "seed", "language", "categories", "commit", "python", "versions")
    }
    phases = {
        name: {k: phase[k] for k in ("seconds", "peak_memory_mb")}
        for name, phase in sorted(manifest["phases"].items())
    }
    parameters = {
        name: {k: v for k, v in found.items() if k not in PLACES}
        for name, found in parameters_of(run / "notebooks").items()
    }
    data = {"data": Path(manifest["data"]).name, "device": manifest["device"]}
    return kept | data | {"phases": phases, "parameters": parameters}


if __name__ == "__main__":
    main()

"""Copy the tables of a run on real images, with what they are of, to figures/mvtec_ad/tables, whence READMEs and report have them.

Those that lie there are brought up to date, from the run's own tables and those that benchmarks wrote into RUN/reference; `--add`
names further ones. Only numbers are kept: columns that name single images stay in the run. A table that the run lacks stays as it
was and is named. Afterwards `python tests/test_readme.py` writes the READMEs' results.

    .venv/bin/python benchmarks/keep_tables.py --run runs/full --add inspect_speed inspect_growth
"""

import argparse
from pathlib import Path

import pandas as pd

from mvtec_xai.blocks.runs import atomic_path, read_json, read_table, write_json

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


if __name__ == "__main__":
    main()

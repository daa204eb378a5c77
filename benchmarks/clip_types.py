"""Does CLIP see what tells types of defects apart, or that a type is unknown?

Phase 04 names a defect by what the detector's frozen network shows of it. Phase 13 keeps beside that what CLIP sees: of the image, of a
square around the region, and of the patches within it; the detector's closer look is not there. Here types are named from either and from
both, by logistic regression and by prototypes of whitened features, out-of-fold and with the regions of phase 04; and each type is left
out in turn, to see whether distances from the prototypes tell that it is unknown.
A row for each of these ways: accuracy, mean of the categories; McNemar's exact test against phase 04's SupCon on the same images; AUROC
of the unknown. Nothing is chosen by it. A few minutes on one core.

    .venv/bin/python benchmarks/clip_types.py --run runs/full --out runs/full/reference
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mvtec_xai.blocks.evaluation import compare_right
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table, read_tensors
from mvtec_xai.new_types import evaluate_unknown, leave_types_out
from mvtec_xai.type_study import KnownDefects, TypeMethod, cross_fit_types

BY_CLIP = 2048  # of a look's numbers, the last
SEEN_BY = {"detector": slice(None, -BY_CLIP), "CLIP": slice(-BY_CLIP, None), "both": slice(None)}
METHODS = [TypeMethod("logistic", 0), TypeMethod("whitened", 0)]


def known_defects(
    table: pd.DataFrame, looks: dict[tuple[str, str], torch.Tensor], part: slice
) -> KnownDefects:
    "The defects of one category, as seen with each region that phase 13 kept."

    def seen(regions: list[str]) -> torch.Tensor:
        own = [looks[image, region][part] for image, region in zip(table.image_id, regions, strict=True)]
        return torch.stack(own)[None, :, None].expand(-1, -1, 2, -1)  # a look in place of two

    own, masked = [str(f) for f in table.fold], np.array([(i, "mask") in looks for i in table.image_id])
    features = {int(f): seen([str(f)] * len(table)) for f in table.fold.unique()} | {"heatmap": seen(own)}
    features["mask"] = seen([r if not m else "mask" for r, m in zip(own, masked, strict=True)])
    return KnownDefects(table.reset_index(drop=True), masked, features)


def unknown_auroc(known: list[KnownDefects], method: TypeMethod) -> float:
    "How well distances tell a type that was left out, mean of types and categories."
    table = evaluate_unknown(leave_types_out(known, [method]))
    return float(table[table.category == "mean"].auroc.iloc[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--run", type=Path, required=True, help="a run whose phases 04 and 13 are done, 13 with CLIP"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    kept, named = args.run / "13_semantic", read_table(args.run / "04_contrastive" / "types.parquet")
    if not read_json(kept / "config.json")["clip"]:
        parser.error(
            f"{kept}: was run without CLIP; run phase 13 again with `clip` 1, as `--profile full` does"
        )
    named = named[(named.region == "heatmap") & (named.method == "supcon")]
    listed, numbers = read_table(kept / "features.parquet"), read_tensors(kept / "features.safetensors")
    names = zip(listed.image_id, listed.region, strict=True)
    looks = dict(zip(names, numbers["features"].float(), strict=True))
    columns, rows = ["image_id", "category", "defect", "fold"], []
    ours = named.set_index("image_id")
    ours = ours.predicted == ours.defect
    for seen_by, part in SEEN_BY.items():
        known = [known_defects(own[columns], looks, part) for _, own in named.groupby("category")]
        for method in METHODS:
            answers = pd.concat([cross_fit_types(own, method, "heatmap")[0] for own in known])
            right = (answers.predicted == answers.defect).set_axis(answers.image_id)
            row = {"seen by": seen_by, "method": method.name, "learned from": "good parts, types, masks"}
            row["images"] = len(right)
            row["accuracy"] = right.groupby(answers.category.to_numpy()).mean().mean()
            row |= compare_right(right.to_numpy(), ours[right.index].to_numpy())
            if method.name == "whitened":
                row["unknown_auroc"] = unknown_auroc(known, method)
            rows.append(row)
            print(row, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out / "types_clip.csv") as path:
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()

"""How much does it matter which few good parts are photographed, and which network looks at them?

Detectors are made of 1, 4 and 16 good parts of each category of a run, as in phase 14, several times over with other parts, and judge the
whole test folder. With --backbone another frozen network takes the place of the run's, with --views another number of altered copies is
learned from. A row for each network, score and number of parts: the mean image AUROC over categories and draws, its least and greatest
where there are several, and the worst category. `distances` is the score without the autoencoder. What preferred copies and autoencoder
is `pasted`: the same, of the first draw, for 40 other parts of train/good, as they are and with a defect pasted on each. The rows are
added to few_parts.csv, in which those of other networks and numbers of copies stay. A draw of the run's network takes an hour on two cores.

    .venv/bin/python benchmarks/few_parts.py --run runs/full --out runs/full/reference
    .venv/bin/python benchmarks/few_parts.py --run runs/full --out runs/full/reference --views 40
    .venv/bin/python benchmarks/few_parts.py --run runs/full --out runs/full/reference \\
        --backbone vit_small_patch14_dinov2 --weights FILE
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mvtec_xai.blocks.backbones import FeatureExtractor, create_backbone
from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.categories import read_augmentations
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table
from mvtec_xai.classifier import load_extractor
from mvtec_xai.differences import paste_defects
from mvtec_xai.generalisation import judge_by_good_parts
from mvtec_xai.good_parts import GoodPartsConfig, pass_good_parts

SCORES = {"distance": "distances", "logit": "distances and autoencoder"}
KEPT = 40  # good parts of train/good that nothing learns from


def summary(found: pd.DataFrame) -> pd.DataFrame:
    "A row for each score and number of parts, of rows (score, parts, draw, category, image_auroc, pasted) of single detectors."
    rows = []
    for (score, parts), own in found.groupby(["score", "parts"]):
        by_draw, worst = (own.groupby(name).image_auroc.mean() for name in ("draw", "category"))
        least, greatest = by_draw.agg(["min", "max"]) if len(by_draw) > 1 else (np.nan, np.nan)
        row = {"score": score, "parts": parts, "image_auroc": by_draw.mean(), "least draw": least}
        row |= {"greatest draw": greatest, "draws": len(by_draw), "worst category": worst.idxmin()}
        rows.append(row | {"its image_auroc": worst.min(), "pasted": own.pasted[own.draw == 0].mean()})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00 and 01 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--backbone", default="", help="timm name; default: the run's network")
    parser.add_argument("--weights", type=Path, help="its weight file")
    parser.add_argument("--parts", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument(
        "--views", type=int, default=GoodPartsConfig().views, help="images and copies, at least"
    )
    args = parser.parse_args()
    index, cache = (
        read_table(args.run / "00_data" / "index.parquet"),
        ImageCache(args.run / "00_data" / "cache"),
    )
    about, allowed = read_json(args.run / "01_classifier" / "config.json"), read_augmentations(args.run)
    extractor = load_extractor(args.run / "01_classifier")
    if args.backbone:
        extractor = FeatureExtractor(create_backbone(args.backbone, args.weights, cache.size))
    found = []
    for category in sorted(index.category.unique()):
        own = index[index.category == category]
        tested, train = (
            own.index[own.folder == "test"].to_numpy(),
            own.index[own.folder == "train"].to_numpy(),
        )
        kept = cache.images[np.random.default_rng(0).permutation(train)[-KEPT:]]
        asked = np.concatenate([cache.images[tested], kept, paste_defects(kept)[0]])
        if len(train) < KEPT + max(args.parts):
            parser.error(f"{category}: {len(train)} good parts; {KEPT} are kept aside, name fewer --parts")
        maps, _ = pass_good_parts(extractor, asked, allowed[category], views=0)
        for draw in range(args.draws):
            order, config = np.random.default_rng(draw).permutation(train), GoodPartsConfig(views=args.views)
            for count in args.parts:
                learn = cache.images[order[:count]], maps, allowed[category], config
                said = judge_by_good_parts(extractor, *learn, about["false_alarm_rate"], draw).columns
                found += [
                    {"score": name, "parts": count, "draw": draw, "category": category}
                    | {"image_auroc": roc_auc_score(own.label[tested], said[column][: len(tested)])}
                    | {"pasted": roc_auc_score(np.repeat([0, 1], KEPT), said[column][len(tested) :])}
                    for column, name in SCORES.items()
                ]
        print(
            pd.DataFrame(found[-len(SCORES) * args.draws * len(args.parts) :]).to_string(index=False),
            flush=True,
        )
    table = summary(pd.DataFrame(found))
    table.insert(0, "backbone", args.backbone or about["backbone"])
    table.insert(2, "views", args.views)
    table = table.assign(images=int((index.folder == "test").sum()))
    file = args.out / "few_parts.csv"
    if file.is_file():
        older = pd.read_csv(file)
        others = (older.backbone != table.backbone[0]) | (older.views != args.views)
        table = pd.concat([older[others], table], ignore_index=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as path:
        table.to_csv(path, index=False, float_format="%.6g")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

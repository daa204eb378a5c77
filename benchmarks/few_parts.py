"""How much does it matter which few good parts are photographed, and which network looks at them?

Detectors are made of 1, 4 and 16 good parts of each category of a run, as in phase 14, several times over with other parts, and judge the
whole test folder. With --backbone another frozen network takes the place of the run's. A row for each network and number of parts: the mean
image AUROC over categories and draws, its least and greatest draw, and the worst category. The rows are added to few_parts.csv, in which
those of other networks stay. A network takes 10 to 20 minutes on two cores.

    .venv/bin/python benchmarks/few_parts.py --run runs/full --out runs/full/reference
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
from mvtec_xai.generalisation import judge_by_good_parts
from mvtec_xai.good_parts import GoodPartsConfig, pass_good_parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00 and 01 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--backbone", default="", help="timm name; default: the run's network")
    parser.add_argument("--weights", type=Path, help="its weight file")
    parser.add_argument("--parts", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--draws", type=int, default=3)
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
        maps, _ = pass_good_parts(extractor, cache.images[tested], allowed[category], views=0)
        for draw in range(args.draws):
            order = np.random.default_rng(draw).permutation(train)
            for count in args.parts:
                learn = cache.images[order[:count]], maps, allowed[category], GoodPartsConfig()
                judged = judge_by_good_parts(extractor, *learn, about["false_alarm_rate"], draw)
                auroc = roc_auc_score(own.label[tested], judged.columns["logit"])
                found.append({"parts": count, "draw": draw, "category": category, "image_auroc": auroc})
        print(pd.DataFrame(found[-args.draws * len(args.parts) :]).to_string(index=False), flush=True)
    by_draw = pd.DataFrame(found).groupby(["parts", "draw"]).image_auroc.mean()
    worst = pd.DataFrame(found).groupby(["parts", "category"]).image_auroc.mean()
    table = by_draw.groupby("parts").agg(["mean", "min", "max"]).reset_index()
    table.columns = ["parts", "image_auroc", "least draw", "greatest draw"]
    table.insert(0, "backbone", args.backbone or about["backbone"])
    table = table.assign(draws=args.draws, images=int((index.folder == "test").sum()))
    table["worst category"] = [worst[n].idxmin() for n in table.parts]
    table["its image_auroc"] = [worst[n].min() for n in table.parts]
    file = args.out / "few_parts.csv"
    if file.is_file():
        older = pd.read_csv(file)
        table = pd.concat([older[older.backbone != table.backbone[0]], table], ignore_index=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as path:
        table.to_csv(path, index=False, float_format="%.6g")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

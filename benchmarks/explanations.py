"""What is a heatmap worth that has never seen a mask? The detector of a run beside the same heads trained on labels alone.

    masks    the heads of the run: good parts, labels and masks
    labels   the same heads, memory and training, but no mask is shown to them

Both are scored out-of-fold on test/, in the categories that have masks, by Grad-CAM at the heads' hidden layer: image AUROC, pixel
AUROC, AUPRO and the pointing game, the last three with 95 % bootstrap intervals, then their means over the categories. The table is
explanations.csv. A category takes about three minutes on two cores.

    .venv/bin/python benchmarks/explanations.py --run runs/full --out runs/full/reference
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.categories import read_augmentations
from mvtec_xai.blocks.evaluation import measure_maps, with_intervals
from mvtec_xai.blocks.examples import Examples, make_examples
from mvtec_xai.blocks.metrics import defect_masks
from mvtec_xai.blocks.protocol import scoring_members
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table
from mvtec_xai.classifier import HeadConfig, load_detector, load_extractor, score_maps, train_heads
from mvtec_xai.gradcam import explain_heads, upsample

LEARNED_FROM = {"masks": "good parts, labels, masks", "labels": "good parts, labels"}


def label_heads(
    examples: Examples, index: pd.DataFrame, category: str, config: HeadConfig, ensemble_size: int, seed: int
) -> dict[int, list]:
    "Train, for each fold, the ensemble that scores it, on labels alone; only the heads that it needs."
    here, fold, folds = (
        (index.category == category).to_numpy(),
        index.fold.to_numpy(),
        int(index.fold.max()) + 1,
    )
    unmasked, trained = index.assign(mask_path=None), {}
    for f, g in combinations(range(folds), 2):
        rows = here & (fold != f) & (fold != g)
        trained[f, g] = lambda k, rows=rows, at=seed + 100 * f + 1000 * g: train_heads(
            examples, unmasked, rows, 1, config, at + k
        )[0]
    wanted = {pair: [(pair, k) for k in range(ensemble_size)] for pair in trained}
    return {f: [trained[pair](k) for pair, k in scoring_members(wanted, f, folds)] for f in range(folds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00 and 01 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--categories", default="", help="separated by commas; default: all that have masks")
    parser.add_argument("--side", type=int, default=224, help="pixels, at which maps are compared with masks")
    args = parser.parse_args()
    index, cache = (
        read_table(args.run / "00_data" / "index.parquet"),
        ImageCache(args.run / "00_data" / "cache"),
    )
    augmentations = read_augmentations(args.run)
    settings, extractor = (
        read_json(args.run / "01_classifier" / "config.json"),
        load_extractor(args.run / "01_classifier"),
    )
    config = HeadConfig(settings["width"], settings["steps"])
    tested = index[index.folder == "test"]
    with_masks = sorted(set(tested.category[tested.mask_path.notna()]))
    rows, draws = [], {}
    for category in args.categories.split(",") if args.categories else with_masks:
        examples = make_examples(
            extractor,
            cache.images,
            cache.masks,
            index,
            category,
            augmentations[category],
            settings["views"],
            settings["patches"],
            settings["seed"],
        )
        own = tested[tested.category == category].sort_values("fold", kind="stable")
        parts = {f: examples.select(index.index.isin(part.index)) for f, part in own.groupby("fold")}
        own = index.loc[np.concatenate([examples.row[at] for at in parts.values()])]
        masks = defect_masks(cache.masks[own.index.to_numpy()], args.side)
        heads = {
            "masks": {
                f: list(load_detector(args.run / "01_classifier", category, f"fold{f}", extractor).heads)
                for f in parts
            },
            "labels": label_heads(
                examples, index, category, config, settings["ensemble_size"], settings["seed"]
            ),
        }
        for kind, ensembles in heads.items():
            seen = {f: [m[at] for m in examples.maps] for f, at in parts.items()}
            logit = np.concatenate([score_maps(ensembles[f], seen[f]) for f in parts])
            maps = upsample(np.concatenate([explain_heads(ensembles[f], seen[f]) for f in parts]), args.side)
            strata, auroc = own.defect.to_numpy(), roc_auc_score(own.label, logit)
            measured, draws[category, kind] = measure_maps(maps, masks, strata, seed=settings["seed"])
            row = {"images": len(own), "image_auroc": auroc, **measured}
            rows.append({"category": category, "heads": kind, "learned_from": LEARNED_FROM[kind], **row})
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    with atomic_path(args.out / "explanations.csv") as path:
        with_intervals(pd.DataFrame(rows), draws, by="heads").to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()

"""What each choice of the detector is worth: the cross-fitting of phase 01 with one thing changed at a time.

    as it is           the detector of the run
    no masks           heads learn by the images' labels alone
    no memory          heads do not see the distances to good patches
    no views           heads learn from the images as they are alone
    256 px, ...        smaller images (`--sizes`)
    one for all        the same heads for all `--categories`, with as many steps as those of all categories together

For each fold one ensemble leaves out that fold and the next. The table choices.csv has a row for each category and choice:
`validation_auroc`, the mean over the folds of what it says of the next one, by which a choice may be made; and `image_auroc`,
out-of-fold on test/ with its 95 % interval, which only says what it came to; then the means of the categories. Both are of logits;
phase 01 tells the AUROC of probabilities, whose calibration differs by fold, so its figures are not quite these. A category takes
about eight minutes on two cores.

    .venv/bin/python benchmarks/choices.py --run runs/full --out runs/full/reference --categories pill,screw
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.categories import read_augmentations
from mvtec_xai.blocks.examples import Examples, make_examples
from mvtec_xai.blocks.memory import BANKS
from mvtec_xai.blocks.metrics import bootstrap_interval
from mvtec_xai.blocks.photographs import resize_image
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table
from mvtec_xai.classifier import HeadConfig, load_extractor, score_maps, train_heads


def cross_fit(
    examples: Examples,
    index: pd.DataFrame,
    categories: Sequence[str],
    config: HeadConfig,
    ensemble_size: int,
    seed: int,
) -> list[dict]:
    "A row for each of `categories`, whose images `examples` holds: validation and out-of-fold AUROC."
    here, label = index.category.isin(categories).to_numpy(), index.label.to_numpy()
    fold, logit, validated = index.fold.to_numpy(), np.full(len(index), np.nan), {c: [] for c in categories}
    folds = sorted(set(fold[here & (index.folder == "test").to_numpy()]))
    for f, other in zip(folds, folds[1:] + folds[:1], strict=True):
        heads = train_heads(
            examples, index, here & (fold != f) & (fold != other), ensemble_size, config, seed + 100 * f
        )
        tested, known = (examples.select(here & (fold == k)) for k in (f, other))
        logit[examples.row[tested]] = score_maps(heads, [m[tested] for m in examples.maps])
        found, rows = score_maps(heads, [m[known] for m in examples.maps]), examples.row[known]
        for category in categories:
            of = (index.category == category).to_numpy()[rows]
            validated[category].append(roc_auc_score(label[rows][of], found[of]))
    return [
        {"category": c, "validation_auroc": np.mean(validated[c]), **judge(index, logit, c, seed)}
        for c in categories
    ]


def judge(index: pd.DataFrame, logit: np.ndarray, category: str, seed: int) -> dict:
    "Out-of-fold AUROC on test/ of `category`, with its interval."
    rows = np.flatnonzero((index.category == category) & (index.folder == "test"))
    y, p = index.label.to_numpy()[rows], logit[rows]
    low, high = bootstrap_interval(
        lambda r: roc_auc_score(y[r], p[r]), index.defect.to_numpy()[rows], seed=seed
    )
    return {"images": len(rows), "image_auroc": roc_auc_score(y, p), "auroc_low": low, "auroc_high": high}


def without_memory(examples: Examples) -> Examples:
    "The same with every distance at its mean."
    finest = examples.maps[0].clone()
    finest[:, : len(BANKS)] = 0
    return replace(examples, maps=[finest, *examples.maps[1:]])


def without_views(examples: Examples) -> Examples:
    "The unaltered images alone."
    kept = examples.view == 0
    maps, share = [m[torch.from_numpy(kept)] for m in examples.maps], examples.share[torch.from_numpy(kept)]
    return replace(examples, maps=maps, share=share, row=examples.row[kept], view=examples.view[kept])


def joined(parts: list[Examples]) -> Examples:
    "The examples of several categories as one."
    row, view = (np.concatenate([getattr(p, name) for p in parts]) for name in ("row", "view"))
    maps = [torch.cat(grid) for grid in zip(*(p.maps for p in parts), strict=True)]
    return replace(parts[0], maps=maps, share=torch.cat([p.share for p in parts]), row=row, view=view)


def with_means(rows: list[dict]) -> pd.DataFrame:
    "The rows, and the mean of the categories for every choice that all of them have."
    table = pd.DataFrame(rows)
    groups = table.groupby("choice", sort=False)
    means = (
        groups[["validation_auroc", "image_auroc"]].mean().assign(images=groups.images.sum(), category="mean")
    )
    whole = means[groups.size() == table.category.nunique()].reset_index()
    return pd.concat([table, whole], ignore_index=True) if table.category.nunique() > 1 else table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00 and 01 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--categories", default="", help="separated by commas; default: all")
    parser.add_argument("--sizes", default="256,320", help="in pixels, separated by commas")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
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
    categories = args.categories.split(",") if args.categories else sorted(set(index.category))
    rows, kept = [], []

    def examples_of(category: str, images: np.ndarray, masks: np.ndarray, table: pd.DataFrame) -> Examples:
        return make_examples(
            extractor,
            images,
            masks,
            table,
            category,
            augmentations[category],
            settings["views"],
            settings["patches"],
            settings["seed"],
        )

    def add(
        choice: str, examples: Examples, table: pd.DataFrame, of: Sequence[str], config: HeadConfig
    ) -> None:
        for row in cross_fit(examples, table, of, config, settings["ensemble_size"], settings["seed"]):
            rows.append({"category": row.pop("category"), "choice": choice, **row})
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        with atomic_path(args.out / "choices.csv") as path:
            with_means(rows).to_csv(path, index=False)

    for category in categories:
        examples = examples_of(category, cache.images, cache.masks, index)
        kept.append(examples)
        add("as it is", examples, index, [category], config)
        add("no masks", examples, index.assign(mask_path=None), [category], config)
        add("no memory", without_memory(examples), index, [category], config)
        add("no views", without_views(examples), index, [category], config)
        own = np.flatnonzero(index.category == category)
        for size in map(int, args.sizes.split(",")):
            images = np.stack([resize_image(cache.images[i], size) for i in own])
            masks = F.interpolate(
                torch.from_numpy(cache.masks[own])[:, None].float(), (size, size), mode="area"
            )[:, 0].numpy()
            table = index.iloc[own].reset_index(drop=True)
            add(f"{size} px", examples_of(category, images, masks, table), table, [category], config)
    if len(categories) > 1:
        add(
            "one for all",
            joined(kept),
            index,
            categories,
            replace(config, steps=config.steps * len(categories)),
        )


if __name__ == "__main__":
    main()

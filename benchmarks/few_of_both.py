"""Few good parts and few defects: what do good parts alone, trained heads and the sum of both see?

Of each category of a run, some images of train/good and up to some defects of each type are learned from, as by `mvtec-xai learn`; all
other images of the test folder are judged. A row for each number of parts, of defects, draw (`seed`) and way: the mean image AUROC over
categories, and by how much that of the sum is greater, both with intervals from resampled images of each category and type, but not from
other draws. The table is few_of_both.csv. Seven categories take half an hour on two cores for each number of defects and draw.

    .venv/bin/python benchmarks/few_of_both.py --run runs/full --out runs/full/reference
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from mvtec_xai.blocks.augmentation import Augmentation
from mvtec_xai.blocks.backbones import FeatureExtractor
from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.categories import read_augmentations
from mvtec_xai.blocks.examples import pass_images
from mvtec_xai.blocks.memory import describe_maps
from mvtec_xai.blocks.runs import atomic_path, read_table
from mvtec_xai.classifier import load_extractor, score_maps
from mvtec_xai.generalisation import compare_scores, evaluate_scores
from mvtec_xai.ways import STANDARD, Lessons, add_opinions, learn_with_heads, learn_without_heads

LEARNED_FROM = {
    "good parts only": "good parts",
    "heads": "good parts, labels, masks",
    "both": "the same, and a weight chosen on all categories",  # STRANGENESS
}
WAYS = list(LEARNED_FROM)


def draw_lessons(index: pd.DataFrame, parts: int, defects: int, seed: int) -> np.ndarray:
    "Rows of one category to learn from: `parts` of train/good, and up to `defects` of each type."
    good = np.random.default_rng(seed).permutation(index.index[index.folder == "train"])[:parts]
    rng = np.random.default_rng(seed)  # the same defects, whatever the number of parts
    bad = [rng.permutation(own.index)[:defects] for _, own in index[index.label == 1].groupby("defect")]
    return np.concatenate([good, *bad])


def judge(
    extractor: FeatureExtractor,
    index: pd.DataFrame,
    cache: ImageCache,
    allowed: Augmentation,
    rows: np.ndarray,
    seed: int,
) -> pd.DataFrame:
    "Learn from `rows` of one category in three ways, and judge the test images that are left: a column for each way."
    own = index.loc[rows].reset_index(drop=True)
    lessons = Lessons(own, cache.images[rows], cache.masks[rows], allowed)
    alone, measured = learn_without_heads(extractor, lessons, STANDARD, seed)
    heads = learn_with_heads(alone, lessons, measured, STANDARD, seed)
    left = index[(index.folder == "test") & ~index.index.isin(rows)]
    maps = pass_images(extractor, cache.images[left.index])
    said = {}
    for way, (found, _) in zip(
        WAYS, (alone, heads, add_opinions(alone, heads, lessons, STANDARD)), strict=True
    ):
        said[way] = score_maps(found.detector.heads, describe_maps(found.detector.memory, maps))
    return left[["category", "defect", "label"]].assign(**said)


def summary(judged: pd.DataFrame, parts: int, defects: int, seed: int) -> pd.DataFrame:
    "A row for each way, of the answers of `judge` for all categories."
    means = evaluate_scores(judged, WAYS).query("category == 'mean'").drop(columns="category")
    means["learned from"] = means.score.map(LEARNED_FROM)
    for row in (compare_scores(judged, "both", way) for way in WAYS[:-1]):
        means.loc[means.score == row["against"], ["difference", "low", "high"]] = (
            row["difference"],
            row["low"],
            row["high"],
        )
    for at, (name, value) in enumerate({"parts": parts, "defects": defects, "seed": seed}.items()):
        means.insert(at, name, value)
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00 and 01 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--parts", type=int, default=16, help="good parts of each category")
    parser.add_argument("--defects", type=int, nargs="*", default=[3], help="of each type, at most")
    parser.add_argument("--draws", type=int, nargs="*", default=[0], help="seeds of what is learned from")
    args = parser.parse_args()
    index = read_table(args.run / "00_data" / "index.parquet")
    cache, allowed = ImageCache(args.run / "00_data" / "cache"), read_augmentations(args.run)
    extractor, tables = load_extractor(args.run / "01_classifier"), []
    for defects, seed in product(args.defects, args.draws):
        judged = []
        for category, own in index.groupby("category"):
            rows = draw_lessons(own, args.parts, defects, seed)
            judged.append(judge(extractor, own, cache, allowed[category], rows, seed))
            own_rows = summary(judged[-1], args.parts, defects, seed)
            print(category, own_rows.to_string(index=False), flush=True)
        tables.append(summary(pd.concat(judged), args.parts, defects, seed))
    table = pd.concat(tables)
    with atomic_path(args.out / "few_of_both.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

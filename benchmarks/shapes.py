"""Long images: squeezed to a square, padded to one, or cut into squares? And how much do a few defects bring?

A category whose images are not square is learned three ways, with the frozen network of a run:

    squeezed  the image is brought to the square that the network takes, out of proportion
    padded    the short side is filled with the mean colour of the good parts of `train`
    tiled     squares as wide as the short side, overlapping, each enlarged; the image is as strange as its strangest tile

Each is scored on the test folder: from good parts alone; from 1, 3, 5 defects as well, and from all of them. Defects and good test
images are cut into folds, so that nothing judges an image that it has learned from. A fold is a stretch of neighbouring names, since
pictures of one board have neighbouring names. Scores of different heads do not compare, so measures are taken within each fold, and
their mean is told. Pixel measures are of the tiles or squares laid back on the image. The table is shapes.csv; shapes_paired.csv
compares the shapes two by two on the same images. Half an hour of one core, less with `--good 60`, which draws so many good images from
each folder; all defects take part in any case.

    .venv/bin/python benchmarks/shapes.py --images ../shared/kolektor_sdd/commutator --run runs/full --out runs/full/reference
"""

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from mvtec_xai.blocks.augmentation import Augmentation
from mvtec_xai.blocks.examples import make_examples
from mvtec_xai.blocks.masks import marked_pixels
from mvtec_xai.blocks.photographs import read_image, resize_image
from mvtec_xai.blocks.runs import atomic_path, read_json
from mvtec_xai.classifier import HeadConfig, describe_images, load_extractor, score_maps, train_heads
from mvtec_xai.generalisation import compare_scores, evaluate_scores
from mvtec_xai.good_parts import GoodPartsConfig, fit_good_parts
from mvtec_xai.gradcam import explain_heads, upsample
from mvtec_xai.tools.folders import index_folder

COUNTS = (1, 3, 5, 0)  # defects to learn from; 0: all
ROUGHER = 2  # pixel measures look at every second pixel of every second row


def squeezed(height: int, width: int) -> list[tuple[int, int, int, int]]:
    "The whole image: top, left, height, width."
    return [(0, 0, height, width)]


def padded(height: int, width: int) -> list[tuple[int, int, int, int]]:
    "A square around the whole image."
    side = max(height, width)
    return [((height - side) // 2, (width - side) // 2, side, side)]


def tiled(height: int, width: int) -> list[tuple[int, int, int, int]]:
    "Squares as wide as the short side, evenly laid so that they cover the image."
    side = min(height, width)
    starts = np.linspace(0, max(height, width) - side, -(-max(height, width) // side)).round().astype(int)
    return [(s, 0, side, side) if height > width else (0, s, side, side) for s in starts.tolist()]


SHAPES = {"squeezed": squeezed, "padded": padded, "tiled": tiled}


def cut(pixels: np.ndarray, box: tuple, fill: np.ndarray) -> np.ndarray:
    "The part of an image (h, w) or (h, w, 3) in a box, `fill` where the box is outside."
    top, left, height, width = box
    part = np.broadcast_to(fill, (height, width, *pixels.shape[2:])).astype(pixels.dtype)
    up, low = max(top, 0), min(top + height, len(pixels))
    near, far = max(left, 0), min(left + width, pixels.shape[1])
    part[up - top : low - top, near - left : far - left] = pixels[up:low, near:far]
    return part


class Squares:
    "The images of a folder as squares of `size` pixels; a row of `index` each, which says of what image."

    def __init__(self, images: pd.DataFrame, shape: str, size: int):
        self.images, self.pixels = images, [read_image(p) for p in images.path]
        none = [np.zeros(p.shape[:2], bool) for p in self.pixels]
        paths = zip(images.mask_path, none, strict=True)
        self.truth = [marked_pixels(m) if isinstance(m, str) else empty for m, empty in paths]
        taught = images.folder == "train"  # good parts all, and none that is judged
        good = [p.mean(axis=(0, 1)) for p, known in zip(self.pixels, taught, strict=True) if known]
        fill, rows, squares, masks = np.mean(good, axis=0).round(), [], [], []
        for k, (pixels, truth) in enumerate(zip(self.pixels, self.truth, strict=True)):
            for box in SHAPES[shape](*pixels.shape[:2]):
                masks.append(resize_mask(cut(truth, box, np.bool_(False)), size))
                squares.append(resize_image(cut(pixels, box, fill), size))
                rows.append({"image": k, "box": box, "folder": images.folder[k], "mask_path": "known"})
        self.squares, self.masks = np.stack(squares), np.stack(masks)
        self.index = pd.DataFrame(rows).assign(category="part", label=self.masks.any(axis=(1, 2)).astype(int))
        self.index["defect"] = np.where(self.index.label == 1, "defect", "good")
        self.image = self.index.image.to_numpy()

    def by_image(self, logit: np.ndarray) -> np.ndarray:
        "The strangest square of each image (n,); minus infinity where nobody was asked."
        found = np.full(len(self.images), -np.inf)
        np.maximum.at(found, self.image, np.nan_to_num(logit, nan=-np.inf))
        return found

    def laid_back(self, maps: np.ndarray, k: int) -> np.ndarray:
        "The maps (squares, h, w) of image k on its own pixels, the greater where squares overlap."
        height, width = self.pixels[k].shape[:2]
        whole = np.full((height, width), -np.inf, np.float32)
        for row in np.flatnonzero(self.image == k):
            top, left, tall, wide = self.index.box[row]
            heat = upsample(maps[row][None], max(tall, wide))[0]
            heat = heat[np.linspace(0, len(heat) - 1, tall).round().astype(int)]
            heat = heat[:, np.linspace(0, heat.shape[1] - 1, wide).round().astype(int)]
            up, low, near, far = max(top, 0), min(top + tall, height), max(left, 0), min(left + wide, width)
            inside = heat[up - top : low - top, near - left : far - left]
            whole[up:low, near:far] = np.maximum(whole[up:low, near:far], inside)
        return whole


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    "A mask (h, w) bool as (size, size) uint8; what is marked at all stays marked."
    grey = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    share = resize_image(grey, size)[..., 0]
    return (share > 127 if (share > 127).any() else share > 0).astype(np.uint8)


def measure(squares: Squares, logit: np.ndarray, maps: np.ndarray, fold: np.ndarray, seed: int) -> dict:
    "Image AUROC with its interval, pixel AUROC and average precision: means over the folds of the test images."
    tested, pixels = as_table(squares.images, fold).assign(score=squares.by_image(logit)[fold >= 0]), []
    for f in np.unique(fold[fold >= 0]):
        own = np.flatnonzero(fold == f)
        truth = np.concatenate([squares.truth[k][::ROUGHER, ::ROUGHER].ravel() for k in own])
        heat = np.concatenate([squares.laid_back(maps, k)[::ROUGHER, ::ROUGHER].ravel() for k in own])
        pixels.append((roc_auc_score(truth, heat), average_precision_score(truth, heat)))
    row = evaluate_scores(tested, ["score"], seed).iloc[-1].drop(["score", "category"]).to_dict()
    pixel_auroc, pixel_ap = np.mean(pixels, axis=0)
    row = {"images": row.pop("images"), "defects": int(tested.label.sum())} | row
    return row | {"pixel_auroc": pixel_auroc, "pixel_ap": pixel_ap}


def as_table(images: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    "The images of a fold, with it as their `category`: by it measures are averaged."
    own = images.loc[fold >= 0, ["defect", "label"]]
    return own.assign(category=fold[fold >= 0].astype(str))


def cut_folds(images: pd.DataFrame, folds: int) -> np.ndarray:
    "Fold of each image (n,), a stretch of neighbouring names among its kind; -1: not of the test folder."
    tested, fold = (images.folder == "test").to_numpy(), np.full(len(images), -1)
    for label in (0, 1):
        rows = np.flatnonzero(tested & (images.label == label))
        fold[rows] = np.arange(len(rows)) * folds // len(rows)
    return fold


def from_good_parts(extractor, squares: Squares, seed: int) -> tuple[np.ndarray, np.ndarray]:
    "Score and explain all squares by a detector of the good parts of `train`."
    good = (squares.index.folder == "train").to_numpy()
    config = GoodPartsConfig(parts=2)  # how it is standardised, not what it remembers
    detector, _ = fit_good_parts(extractor, squares.squares[good], Augmentation(), config, seed)
    described = describe_images(detector, squares.squares)
    return score_maps(detector.heads, described), explain_heads(detector.heads, described)


def from_defects(examples, squares: Squares, count: int, fold: np.ndarray, seed: int):
    "Score and explain the test squares by heads that learned from `count` defects of the other folds, 0: all."
    rng = np.random.default_rng(seed)
    bad, n = (squares.images.label == 1).to_numpy(), len(squares.index)
    logit, maps = np.full(n, np.nan), np.zeros((n, *examples.share.shape[1:]), np.float32)
    for f in range(fold.max() + 1):
        known = rng.permutation(np.flatnonzero(bad & (fold != f)))[: count or None]
        teach = ((fold != f) & ~bad) | np.isin(np.arange(len(bad)), known)
        heads = train_heads(examples, squares.index, teach[squares.image], 1, HeadConfig(), seed + f)
        asked = (fold == f)[squares.image]
        own = [m[examples.select(asked)] for m in examples.maps]
        logit[asked], maps[asked] = score_maps(heads, own), explain_heads(heads, own)
    return logit, maps


def compare(images: pd.DataFrame, answers: list[tuple], seed: int) -> pd.DataFrame:
    "The image AUROC of the shapes two by two, on the same test images, for each thing to learn from."
    by_what, rows = {}, []
    for what, shape, fold, score in answers:
        table = by_what.setdefault(what, as_table(images, fold))
        table[shape] = score[fold >= 0]
    for what, table in by_what.items():
        pairs = combinations(table.columns[3:], 2)
        about = {"learned from": what, "images": len(table), "seed": seed}
        rows += [about | compare_scores(table, *pair, seed) for pair in pairs]
    return pd.DataFrame(rows)


def draw_good(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    "All defects, and `count` good images of each folder; 0: all."
    shuffled = images.sample(frac=1, random_state=seed)
    place = shuffled.groupby(["folder", "label"]).cumcount()
    kept = (shuffled.label == 1) | (place < count) | (count == 0)
    return images.loc[sorted(shuffled.index[kept])].reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--images", type=Path, required=True, help="a category: train/good, test, ground_truth"
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="a run whose phase 01 is done, for its network"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--good", type=int, default=0, help="good images of each folder, by chance; 0: all")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    extractor = load_extractor(args.run / "01_classifier")
    size, images = (
        read_json(args.run / "01_classifier" / "config.json")["image_size"],
        index_folder(args.images, "part"),
    )
    images = draw_good(images, args.good, args.seed)
    rows, answers = [], []  # what was learned from, the shape, folds, and a score of each image
    fold = cut_folds(images, args.folds)
    for shape in args.shapes:
        start, squares = time.perf_counter(), Squares(images, shape, size)
        about = {"shape": shape, "squares": len(squares.index) // len(images), "seed": args.seed}
        one = np.minimum(fold, 0)  # one detector judges all
        ways = {"good parts only": (*from_good_parts(extractor, squares, args.seed), one)}
        passed = squares.squares, squares.masks, squares.index, "part", Augmentation()
        examples = make_examples(extractor, *passed, views=1, patches=1000, seed=args.seed)
        for count in COUNTS:
            what = f"good parts, {count or 'all'} defects, masks"
            ways[what] = *from_defects(examples, squares, count, fold, args.seed), fold
        for what, (logit, maps, judged) in ways.items():
            answers.append((what, shape, judged, squares.by_image(logit)))
            measured = measure(squares, logit, maps, judged, args.seed)
            rows.append({**about, "learned from": what, **measured})
        rows[-1]["seconds"] = round(time.perf_counter() - start)
        print(pd.DataFrame(rows[-1 - len(COUNTS) :]).round(3).to_string(), flush=True)
    tables = {"shapes": pd.DataFrame(rows), "shapes_paired": compare(images, answers, args.seed)}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with atomic_path(args.out / f"{name}.csv") as path:
            table.to_csv(path, index=False, float_format="%.6g")
    print(tables["shapes_paired"].round(3).to_string(index=False))


if __name__ == "__main__":
    main()

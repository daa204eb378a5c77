"""Cracks on long pictures: the decoders of phase 11 on KolektorSDD, cut into squares instead of squeezed into one.

The pictures are some 250 x 630 pixels, and are brought to the size of the first. Squeezed into a square a crack of a pixel's width
would lose half its height, so each is cut into squares as wide as the picture that overlap, each square is drawn alone, and the
drawings are put together again (the mean where two overlap). The memory of good parts comes from half of train/good, decoders learn
from the other half and from test/, and are cross-fitted in a ring of folds; all squares of a picture are in one fold. Scored are whole
pictures, all of test/ and every crack: pixel AP, F1-max, AUPRO, IoU and Dice at the cut that validation sets, the share of cracks
that are hit. The table is segmentation_kolektor.csv. About six minutes on two cores.

    .venv/bin/python benchmarks/segmentation_kolektor.py --data kolektor_sdd/commutator --out runs/kolektor
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from mvtec_xai.blocks.augmentation import Augmentation
from mvtec_xai.blocks.backbones import FeatureExtractor, create_backbone, fuse_batchnorm
from mvtec_xai.blocks.evaluation import with_intervals
from mvtec_xai.blocks.images import to_tensor
from mvtec_xai.blocks.masks import find_mask, marked_pixels
from mvtec_xai.blocks.memory import fit_memory_banks
from mvtec_xai.blocks.photographs import read_image
from mvtec_xai.segmentation import NETWORKS, SegmentationConfig, enlarge
from mvtec_xai.segmentation_scores import MEASURES, ScoredMaps, score_maps_of
from mvtec_xai.segmentation_study import cross_fit_networks, cuts_by_fold, distance_maps, make_levels

SIDE = 448  # pixels, to which a square is enlarged


def cut_squares(picture: np.ndarray) -> list[tuple[int, np.ndarray]]:
    "Cut a picture (h, w, ...) into squares as wide as it is: the row at which each begins, and the square."
    height, width = picture.shape[:2]
    count = -(-(height - width // 4) // (width - width // 4))  # a quarter overlaps
    tops = np.linspace(0, height - width, max(count, 1)).round().astype(int)
    return [(int(top), picture[top : top + width]) for top in tops]


def put_together(squares: np.ndarray, tops: list[int], shape: tuple[int, int]) -> np.ndarray:
    "The mean of squares (n, w, w) at their places in a picture of `shape`."
    total, seen = np.zeros(shape), np.zeros(shape)
    for square, top in zip(squares, tops, strict=True):
        total[top : top + shape[1]] += square
        seen[top : top + shape[1]] += 1
    return total / seen


def read_squares(root: Path, folds: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, dict]:
    "All squares: their index, images (n, s, s, 3), masks (n, s, s); and the whole masks by picture."
    rows, images, masks, whole, size = [], [], [], {}, None
    random = np.random.default_rng(seed)
    for kind in ("train/good", "test/good", "test/crack"):
        files = sorted((root / kind).glob("*.*"))
        fold = random.permutation(len(files)) % folds if kind.startswith("test") else np.full(len(files), -1)
        for path, f in zip(files, fold, strict=True):
            image, found = Image.fromarray(read_image(path)), find_mask(path) if "crack" in kind else None
            size = size or image.size
            image = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
            mask = Image.fromarray(marked_pixels(found)) if found else Image.new("1", size)
            mask = whole[str(path)] = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
            for (top, square), (_, marked) in zip(cut_squares(image), cut_squares(mask), strict=True):
                grey = Image.fromarray(marked.astype(np.uint8) * 255).resize(
                    (SIDE, SIDE), Image.Resampling.BOX
                )
                images.append(
                    np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
                )
                masks.append((np.asarray(grey) >= 128).astype(np.uint8))
                label = int(marked.any())
                folder, defect = kind.split("/")[0], "crack" if label else "good"
                rows.append((str(path), top, "commutator", folder, defect, label, int(f)))
    columns = ["picture", "top", "category", "folder", "defect", "label", "fold"]
    table = pd.DataFrame(rows, columns=columns).assign(mask_path="given")
    return (
        table.assign(image_id=table.picture + ":" + table.top.astype(str)),
        np.stack(images),
        np.stack(masks),
        whole,
    )


def whole_maps(index: pd.DataFrame, rows: np.ndarray, maps: np.ndarray, whole: dict) -> dict[str, np.ndarray]:
    "The maps (h, w) of pictures whose squares were drawn."
    found, table = {}, index.loc[rows].assign(at=range(len(rows)))
    for picture, own in table.groupby("picture"):
        height, width = whole[picture].shape
        found[picture] = put_together(enlarge(maps[own["at"]], width), own.top.tolist(), (height, width))
    return found


def score(network: str, learned_from: str, drawn, index, whole, seed: int):
    "Score whole pictures by what was drawn of their squares, cut where validation says."
    maps = whole_maps(index, drawn.rows.to_numpy(), drawn.maps, whole)
    pictures = sorted(maps)
    about = index.groupby("picture").agg(fold=("fold", "first"), label=("label", "max")).loc[pictures]
    masks = np.stack([whole[p] for p in pictures])
    validation = {}
    for f, (rows, found) in drawn.validation.items():
        checked = whole_maps(index, rows, found, whole)
        validation[f] = np.stack(list(checked.values())), np.stack([whole[p] for p in checked])
    stacked = np.stack([maps[p] for p in pictures])
    cuts = cuts_by_fold(about.fold.to_numpy(), stacked, masks, validation or None)
    table = pd.DataFrame({"image_id": pictures, "category": "commutator", "fold": about.fold.to_numpy()})
    table["defect"] = np.where(about.label, "crack", "good")
    scored = ScoredMaps(network, learned_from, stacked, table.fold.map(cuts).to_numpy())
    return score_maps_of(scored, table, masks, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train, test and ground_truth")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    index, images, masks, whole = read_squares(args.data, args.folds, args.seed)
    extractor = fuse_batchnorm(FeatureExtractor(create_backbone()), SIDE)
    pictures = index.picture[index.folder == "train"].unique()
    remembered = index.picture.isin(pictures[::2]).to_numpy()
    with torch.no_grad():
        passed = [extractor(to_tensor(part)) for part in np.array_split(images[remembered][:160], 40)]
        memory = fit_memory_banks([torch.cat(level) for level in zip(*passed, strict=True)], 1000, args.seed)[
            0
        ]
    tested = np.flatnonzero(index.folder == "test")
    taught = np.flatnonzero((index.folder == "train") & ~remembered)[:60]
    examples = make_levels(
        extractor, memory, images, masks, tested, taught, Augmentation(), args.views, args.seed
    )
    rows, draws = [], {}
    for name in NETWORKS:
        drawn = cross_fit_networks(
            examples, index, "commutator", SegmentationConfig(name, steps=args.steps), args.seed
        )
        found, _, resampled = score(name, "good parts and masks", drawn, index, whole, args.seed)
        draws["commutator", name] = resampled
        rows.append(found)
    at = examples.select((index.folder == "test").to_numpy())
    alone = type(drawn)(pd.Index(examples.row[at]), distance_maps(examples, at), {})
    found, _, draws["commutator", "distances"] = score(
        "distances", "good parts", alone, index, whole, args.seed
    )
    table = pd.concat([*rows, found])
    table = table[table.image_id.isna()].pivot(
        index=["category", "network"], columns="measure", values="value"
    )
    table = with_intervals(table[list(MEASURES)].reset_index(), draws, "network")
    args.out.mkdir(parents=True, exist_ok=True)
    table[table.category != "mean"].to_csv(
        args.out / "segmentation_kolektor.csv", index=False, float_format="%.6g"
    )
    print(table[table.category != "mean"].round(3).to_string())


if __name__ == "__main__":
    main()

"""Does a VAE find more where its code is corrected by descent, as in "VAE with restoration"?

Phase 12 paints a part from the code that the encoder gives. Restoration takes that code as a first guess and descends on it: the painting
shall come close to the picture, in absolute differences, which the few pixels of a defect pull little, and the code shall stay likely.
Both are asked about defects pasted on the good parts that phase 12 kept aside; no real defect takes part. A row for each category and
way: how well the difference maps find what was pasted, and milliseconds an image. Seven categories take 8 minutes on two cores.

    .venv/bin/python benchmarks/restoration.py --run runs/full --out runs/full/reference
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mvtec_xai.autoencoder import shrink
from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.metrics import defect_masks
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table
from mvtec_xai.classifier import describe_images, load_detector, load_extractor
from mvtec_xai.differences import (
    DIFFERENCES,
    SMOOTHING,
    difference_maps,
    paste_defects,
    three_differences,
    usual_differences,
)
from mvtec_xai.generative import Generator, load_generator, picture_size, seen_maps, wanted_maps
from mvtec_xai.generative_scores import score_pasted

STEPS = {"code of the encoder": 0, "restored": 20}
HELD_OUT = 0.1  # as in phase 12


def restore(vae: Generator, maps: list[Tensor], pictures: Tensor, steps: int) -> Tensor:
    "Paint by a code that `steps` of descent have corrected: differences (n, 3, s, s)."
    with torch.no_grad():
        code, wanted = vae.encode(maps)[0], wanted_maps(maps)
    code.requires_grad_(True)
    optimizer = torch.optim.Adam([code], lr=0.05)
    for _ in range(steps):
        again, rebuilt = vae.decode(code)
        apart = (again - pictures).abs().mean() + 0.1 * (rebuilt - wanted).abs().mean()
        optimizer.zero_grad()
        (apart + 1e-3 * code.square().mean()).backward()
        optimizer.step()
    with torch.no_grad():
        return three_differences(pictures, (found := vae.decode(code))[0], wanted, found[1])


def differences(vae: Generator, maps: list[Tensor], pictures: Tensor, steps: int) -> np.ndarray:
    "Differences of images as phase 12 takes them, smoothed: (n, 3, s, s)."
    parts = zip(*(x.float().split(8) for x in (*maps, pictures)), strict=True)
    found = [restore(vae, list(seen), x, steps).numpy() for *seen, x in parts]
    return gaussian_filter(np.concatenate(found), (0, 0, SMOOTHING, SMOOTHING))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phases 00, 01 and 12 are done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    args = parser.parse_args()
    folders = {name: args.run / name for name in ("00_data", "01_classifier", "12_generative")}
    index, cache = (
        read_table(folders["00_data"] / "index.parquet"),
        ImageCache(folders["00_data"] / "cache"),
    )
    about, extractor = (
        read_json(folders["12_generative"] / "config.json"),
        load_extractor(folders["01_classifier"]),
    )
    random, rows = np.random.default_rng(about["seed"]), []
    for category in sorted(about["limits"]):
        own = random.permutation(np.flatnonzero((index.category == category) & (index.folder == "train")))
        sound = cache.images[np.sort(own[-max(5, int(len(own) * HELD_OUT)) :])]
        pasted, spots = paste_defects(sound, about["seed"])
        detector = load_detector(folders["01_classifier"], category, extractor=extractor)
        vae = load_generator(folders["12_generative"], category, "vae")
        described = [seen_maps(describe_images(detector, images)) for images in (sound, pasted)]
        pictures = [
            shrink(images, picture_size(maps))
            for images, maps in zip((sound, pasted), described, strict=True)
        ]
        masks = defect_masks(spots, pictures[0].shape[-1])
        for way, steps in STEPS.items():
            began = time.perf_counter()
            good, bad = (differences(vae, m, x, steps) for m, x in zip(described, pictures, strict=True))
            ms = 1000 * (time.perf_counter() - began) / (2 * len(sound))
            for which in (*DIFFERENCES, "all"):
                usual = usual_differences(good, about["by_place"])
                found = score_pasted(*(difference_maps(x, usual, which) for x in (bad, good)), masks)
                said = {"category": category, "way": way, "difference": which, "images": len(sound)}
                rows.append(said | found | {"ms": ms})
        print(pd.DataFrame(rows[-2 * (len(DIFFERENCES) + 1) :]).round(3).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    mean = table.groupby(["way", "difference"], sort=False).mean(numeric_only=True).reset_index()
    mean = mean.assign(
        category="mean", images=table.groupby(["way", "difference"], sort=False).images.sum().to_numpy()
    )
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out / "generative_restoration.csv") as path:
        pd.concat([table, mean]).to_csv(path, index=False, float_format="%.6g")
    print(mean.round(3).to_string(index=False))


if __name__ == "__main__":
    main()

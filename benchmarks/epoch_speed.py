"""How much the data layer costs: an epoch through the cache and `make_loader`, over a bare loop on tensors in memory.

Both fine-tune the same network on the same images in batches of 16, alternating, in one process. Prints the seconds of each
round and the ratio of the medians.

    .venv/bin/python benchmarks/epoch_speed.py --run runs/sample --images 256 --rounds 5
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mvtec_xai.blocks.backbones import Normalize, create_backbone
from mvtec_xai.blocks.runs import read_table
from mvtec_xai.blocks.training import CachedImages, make_loader
from mvtec_xai.data import ImageCache

BATCH = 16


def epoch(network: nn.Module, optimizer: torch.optim.Optimizer, batches) -> float:
    "Seconds of one pass over `batches` of (images uint8 (n, 3, h, w), label (n,), ...)."
    start = time.perf_counter()
    for images, label, *_ in batches:
        loss = F.binary_cross_entropy_with_logits(network(images.float() / 255)[:, 0], label.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/sample"), help="a run whose phase 00 is done")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    index, cache = read_table(args.run / "00_data" / "index.parquet"), ImageCache(args.run / "00_data" / "cache")
    rows = np.random.default_rng(0).permutation(len(index))[: args.images]
    label = index.label.to_numpy()
    loader = make_loader(CachedImages(cache.images, label, rows), BATCH)
    memory = torch.from_numpy(cache.images[rows]).permute(0, 3, 1, 2).contiguous()
    bare = list(zip(memory.split(BATCH), torch.from_numpy(label[rows]).split(BATCH)))
    backbone = create_backbone()
    network = nn.Sequential(Normalize(backbone), backbone, nn.Linear(backbone.num_features, 1)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.train().parameters())
    epoch(network, optimizer, bare[:2])  # the first batches also warm up
    seconds = {"cache": [], "bare": []}
    for _ in range(args.rounds):
        seconds["cache"].append(epoch(network, optimizer, loader))
        seconds["bare"].append(epoch(network, optimizer, bare))
    for name, values in seconds.items():
        print(f"{name:<6}{np.median(values):8.2f} s   rounds: {', '.join(f'{v:.2f}' for v in values)}")
    ratio = np.median(seconds["cache"]) / np.median(seconds["bare"])
    print(f"ratio {ratio:.3f}  ({len(rows)} images, {cache.size} px, {torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()

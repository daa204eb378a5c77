"""What does the plain recipe give? A network fine-tuned on labels alone, explained by Grad-CAM at its last stage.

    gradcam            as pytorch-grad-cam gives it: every map from 0 to 1
    gradcam, unscaled  the same maps with their values kept, so that images can be compared
    layercam, fused    LayerCAM at three depths, each over its mean on training images: their mean

EfficientNet-Lite0, one network a fold for all categories, with one output for each; the stem and the first three stages are frozen, so
each image and two altered views of it pass through them once. It learns from the test images of the other folds and as many good parts
of train/, and from their labels alone. The images of a fold are scored by the network that left them out, at the masks' side of
explanations.py, with the same measures and intervals. The table is finetuned.csv. It takes about half an hour on two cores.

    .venv/bin/python benchmarks/finetuned.py --run runs/full --out runs/full/reference
"""

import argparse
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from explanations import LEARNED_FROM
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mvtec_xai.blocks.augmentation import Augmentation, augment
from mvtec_xai.blocks.backbones import Normalize, create_backbone
from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.categories import read_augmentations
from mvtec_xai.blocks.evaluation import measure_maps, with_intervals
from mvtec_xai.blocks.metrics import defect_masks
from mvtec_xai.blocks.runs import atomic_path, read_table
from mvtec_xai.blocks.training import balanced_weights, make_loader, run_trainer
from mvtec_xai.gradcam import cam_class, upsample

FROZEN = 3  # stages, up to an eighth of the image's side
VIEWS = 2  # altered copies of every image
BATCH, LEARNING_RATE, HEAD_RATE = (
    24,
    1e-4,
    2e-2,
)  # chosen on fold 1, of folds 1 to 4, after 60 batches; ten times the first never learns
KINDS = ["gradcam", "gradcam, unscaled", "layercam, fused"]


def halves(categories: int) -> tuple[nn.Module, nn.Module]:
    "The frozen lower half of the network, and the upper one with a new head."
    network = create_backbone()
    lower = nn.Sequential(Normalize(network), network.conv_stem, network.bn1, *network.blocks[:FROZEN])
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(network.num_features, categories),
    ]
    return lower.eval(), nn.Sequential(
        nn.Identity(), *network.blocks[FROZEN:], network.conv_head, network.bn2, *head
    )


class FineTuning(L.LightningModule):
    "Trains the upper half; batch normalisation keeps its statistics."

    def __init__(self, upper: nn.Module, steps: int):
        super().__init__()
        self.upper, self.steps = upper, steps

    def training_step(self, batch, _):
        for module in self.upper.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        grid, category, label = batch
        logit = self.upper(grid.float()).gather(1, category[:, None])[:, 0]
        return F.binary_cross_entropy_with_logits(logit, label)

    def configure_optimizers(self):
        rates = [LEARNING_RATE, HEAD_RATE]
        optimizer = torch.optim.AdamW(
            [{"params": self.upper[:-1].parameters()}, {"params": self.upper[-1].parameters()}],
            weight_decay=0.01,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rates, total_steps=self.steps, pct_start=0.2
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


@torch.no_grad()
def lower_maps(
    lower: nn.Module, images: np.ndarray, allowed: list[Augmentation] | None, side: int, generator
) -> Tensor:
    "What the frozen half makes of `images` (n, h, w, 3) uint8, altered as `allowed`, at `side` pixels: (n, c, h', w') float16."
    found = []
    for start in range(0, len(images), 8):
        x = torch.from_numpy(images[start : start + 8]).permute(0, 3, 1, 2).float() / 255
        if allowed:
            x = augment(x, allowed[start : start + 8], generator)
        found.append(
            lower(F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)).half()
        )
    return torch.cat(found)


def explain(
    upper: nn.Module, grids: Tensor, category: np.ndarray, method: type, layers: list[nn.Module]
) -> np.ndarray:
    "Maps (n, h, w) of the outputs of their own categories."
    found = []
    with method(upper, layers) as cam:
        for start in range(0, len(grids), 16):
            x = grids[start : start + 16].float().requires_grad_()
            found.append(
                cam(x, targets=[ClassifierOutputTarget(k) for k in category[start : start + 16].tolist()])
            )
    return np.concatenate(found)


def fused(
    upper: nn.Module, grids: Tensor, category: np.ndarray, known: Tensor, known_category: np.ndarray
) -> np.ndarray:
    "LayerCAM at three depths, each over its mean on images that were learned from, enlarged to the finest grid: their mean."
    maps = []
    for layer in (upper[0], upper[2], upper[4]):  # an eighth, a sixteenth, a thirty-second of the side
        own, learned = (
            explain(upper, g, k, cam_class("layercam"), [layer])
            for g, k in ((grids, category), (known, known_category))
        )
        maps.append(upsample(own / max(learned.mean(), 1e-12), grids.shape[-1]))
    return np.mean(maps, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a run whose phase 00 is done")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--image-size", type=int, default=320, help="pixels, as the network sees the images")
    parser.add_argument("--steps", type=int, default=150, help="batches of 24 a fold")
    parser.add_argument("--side", type=int, default=224, help="pixels, at which maps are compared with masks")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    index, cache = (
        read_table(args.run / "00_data" / "index.parquet"),
        ImageCache(args.run / "00_data" / "cache"),
    )
    tested = index[(index.folder == "test") & index.category.isin(index.category[index.mask_path.notna()])]
    good = [
        part.sample(min(len(part), int((tested.category == category).sum())), random_state=args.seed)
        for category, part in index[(index.folder == "train") & index.category.isin(tested.category)].groupby(
            "category"
        )
    ]
    known = pd.concat([tested, *good])
    images = cache.images[known.index.to_numpy()]
    code, names = pd.factorize(known.category, sort=True)
    generator = torch.Generator().manual_seed(args.seed)
    lower, _ = halves(len(names))
    augmentations = read_augmentations(args.run)
    allowed = [augmentations[category] for category in known.category]
    grids = [
        lower_maps(lower, images, allowed if view else None, args.image_size, generator)
        for view in range(VIEWS + 1)
    ]
    logit, maps = (
        np.zeros(len(tested)),
        {name: np.zeros((len(tested), args.side, args.side), np.float32) for name in KINDS},
    )
    for fold in sorted(tested.fold.unique()):
        L.seed_everything(args.seed + int(fold), verbose=False)
        learn = np.flatnonzero((known.folder == "train") | (known.fold != fold))
        seen = TensorDataset(
            torch.cat([g[learn] for g in grids]),
            torch.from_numpy(code[learn]).repeat(VIEWS + 1),
            torch.from_numpy(known.label.to_numpy(np.float32)[learn]).repeat(VIEWS + 1),
        )
        weights = np.tile(balanced_weights(known.iloc[learn]), VIEWS + 1)
        batches = make_loader(seen, BATCH, weights, args.steps * BATCH, args.seed + int(fold))
        upper = halves(len(names))[1]
        run_trainer(FineTuning(upper, args.steps), batches)
        upper.eval().cpu()
        at = np.flatnonzero((known.folder == "test") & (known.fold == fold))  # the test images come first
        own, sample = grids[0][at], np.random.default_rng(args.seed).choice(learn, 64, replace=False)
        with torch.no_grad():
            all_logits = np.concatenate([upper(part.float()).numpy() for part in own.split(16)])
        logit[at] = all_logits[np.arange(len(at)), code[at]]
        found = {
            "gradcam": explain(upper, own, code[at], GradCAM, [upper[4]]),
            "gradcam, unscaled": explain(upper, own, code[at], cam_class("gradcam"), [upper[4]]),
            "layercam, fused": fused(upper, own, code[at], grids[0][sample], code[sample]),
        }
        for name, fresh in found.items():
            maps[name][at] = upsample(fresh, args.side)
        print(f"fold {fold}: learned from {len(learn)} images, scored {len(at)}", flush=True)
    rows, draws = [], {}
    for category, part in tested.reset_index(drop=True).groupby("category"):
        at = part.index.to_numpy()
        masks = defect_masks(cache.masks[tested.index.to_numpy()[at]], args.side)
        for name in KINDS:
            strata, auroc = part.defect.to_numpy(), roc_auc_score(part.label, logit[at])
            measured, draws[category, name] = measure_maps(maps[name][at], masks, strata, seed=args.seed)
            row = {"images": len(part), "image_auroc": auroc, **measured}
            rows.append({"category": category, "heads": name, "learned_from": LEARNED_FROM["labels"], **row})
    with atomic_path(args.out / "finetuned.csv") as path:
        with_intervals(pd.DataFrame(rows), draws, by="heads").to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()

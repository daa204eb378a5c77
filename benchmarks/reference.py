"""PatchCore and PaDiM, as anomalib has them, on the images of a run and with the weights of its backbone.

Each is fitted on train/good of a category and scores all of its test/ (the official protocol). The folder `--out` gets reference.csv
(measures and means; the interval is the central 95 % of stratified resamples; `f1_max` is at the best of all thresholds on these very
test images, an optimistic figure; maps meet masks at 224 pixels, as in phase 02), reference_scores.csv (every test image) and
reference_config.json (what all was made with). Started again, the script goes on with what is not in the tables yet.

Layers: strides 8 and 16 (PatchCore); 4, 8 and 16 (PaDiM, 100 channels of them drawn by chance). PatchCore keeps a hundredth of its
patches, with which its paper (arXiv 2106.08265) has the same image AUROC as with a tenth, anomalib's default (`--coreset 0.1`).

anomalib is an extra. These make it an environment of its own, which borrows all else from .venv, and run the comparison:

    where="import sysconfig; print(sysconfig.get_path('purelib'))"
    .venv/bin/python -m venv .venv-reference
    .venv/bin/python -c "$where" > "$(.venv-reference/bin/python -c "$where")/borrowed.pth"
    .venv-reference/bin/pip install -c constraints.txt -c benchmarks/reference_constraints.txt -e '.[reference]'
    .venv-reference/bin/python benchmarks/reference.py --run runs/full --out runs/full/reference
"""

import argparse
import itertools
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from mvtec_xai.blocks.backbones import FeatureExtractor, create_backbone
from mvtec_xai.blocks.cache import ImageCache
from mvtec_xai.blocks.calibration import best_f1_threshold
from mvtec_xai.blocks.memory import k_center_greedy
from mvtec_xai.blocks.metrics import bootstrap_interval, count_pixels, pixel_measures, pointing_hits
from mvtec_xai.blocks.photographs import resize_image
from mvtec_xai.blocks.runs import atomic_path, read_json, read_table, write_json
from mvtec_xai.classifier import load_extractor

METHODS, BATCH, SIDE = ("patchcore", "padim"), 16, 224


class Reference:
    "The images and the backbone of a run, and anomalib's models on them."

    def __init__(self, run: Path, backbone: str | None, size: int, coreset: float):
        self.index, self.cache = (
            read_table(run / "00_data" / "index.parquet"),
            ImageCache(run / "00_data" / "cache"),
        )
        self.name = backbone or read_json(run / "01_classifier" / "config.json")["backbone"]
        self.extractor = (
            FeatureExtractor(create_backbone(backbone)) if backbone else load_extractor(run / "01_classifier")
        )
        self.device = next(self.extractor.parameters()).device
        self.transformer = "vit" in self.name  # as anomalib asks
        self.size, self.coreset = self.cache.size if self.transformer else min(size, self.cache.size), coreset

    def load(self, category: str, folder: str) -> tuple[pd.DataFrame, np.ndarray]:
        "Rows of the index, all of test/ or train/good, and their images (n, h, w, 3) uint8."
        own = self.index.query(
            "category == @category and folder == @folder and (folder == 'test' or label == 0)"
        )
        if own.empty:
            raise ValueError(
                f"no images of {category}/{folder} in this run; its categories are {', '.join(self.index.category.unique())}"
            )
        return own, np.stack([resize_image(self.cache.images[i], self.size) for i in own.index])

    def batches(self, images: np.ndarray):
        "Images (n, h, w, 3) uint8 as the backbone wants them."
        for start in range(0, len(images), BATCH):
            x = (
                torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).to(self.device).float()
                / 255
            )
            yield self.extractor.normalize(x).contiguous(memory_format=torch.channels_last)

    def build(self, method: str) -> nn.Module:
        "anomalib's model with the weights of the backbone."
        from anomalib.models.image.padim.torch_model import PadimModel
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        backbone, strides = self.extractor.backbone, (8, 16) if method == "patchcore" else (4, 8, 16)
        if self.transformer:
            layers = [f"blocks.{len(backbone.blocks) * k // 6}" for k in (2, 3, 4)][-len(strides) :]
        else:
            stages = timm.create_model(self.name, features_only=True).feature_info
            layers = [
                module
                for module, stride in zip(stages.module_name(), stages.reduction(), strict=True)
                if stride in strides
            ]
        model = (
            PatchcoreModel(layers, self.name, False)
            if method == "patchcore"
            else PadimModel(self.name, layers, False, n_features=100)
        )
        if self.transformer:
            model.feature_extractor.feature_extractor = backbone
        elif missing := model.feature_extractor.feature_extractor.load_state_dict(
            backbone.state_dict(), strict=False
        ).missing_keys:
            raise ValueError(
                f"{self.name}: anomalib's feature extractor has weights of other names ({missing[0]}); take another backbone"
            )
        return model.to(self.device, memory_format=torch.channels_last)

    @torch.no_grad()
    def fit(self, method: str, category: str) -> tuple[nn.Module, float]:
        "The model fitted on train/good, and the seconds that this took."
        torch.manual_seed(0)
        model, (_, images), start = (
            self.build(method).train(),
            self.load(category, "train"),
            time.perf_counter(),
        )
        for x in self.batches(images):
            model(x)  # keeps the features
        if method == "patchcore":
            patches = torch.cat(model.embedding_store)
            model.embedding_store.clear()
            count = max(1, int(len(patches) * self.coreset))
            model.memory_bank = patches[
                k_center_greedy(patches, count)
            ]  # the choice that anomalib makes, faster on a CPU
        else:
            model.fit()
        return model.eval(), time.perf_counter() - start

    @torch.no_grad()
    def judge(self, model: nn.Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        "Scores (n,) and maps (n, size, size)."
        found = [model(x) for x in self.batches(images)]
        score, maps = (
            torch.cat([getattr(f, part).cpu() for f in found]).numpy()
            for part in ("pred_score", "anomaly_map")
        )
        return score.reshape(-1), maps[:, 0]


def measure(test: pd.DataFrame, score: np.ndarray, maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    "The measures of a category; those of pixels where there are masks (n, h, w)."
    y = test.label.to_numpy()
    low, high = bootstrap_interval(lambda rows: roc_auc_score(y[rows], score[rows]), test.defect.to_numpy())
    row = {"images": len(test), "image_auroc": roc_auc_score(y, score), "auroc_low": low, "auroc_high": high}
    row |= {
        "ap": average_precision_score(y, score),
        "f1_max": f1_score(y, score > best_f1_threshold(y, score)),
    }
    maps = F.interpolate(torch.from_numpy(maps)[:, None], (SIDE, SIDE), mode="bilinear", align_corners=False)[
        :, 0
    ].numpy()
    share = F.adaptive_avg_pool2d(torch.from_numpy(masks).float()[:, None], SIDE)[:, 0].numpy()
    masks = share >= np.minimum(
        0.5, np.maximum(share.max(axis=(1, 2), keepdims=True), 1e-6)
    )  # a defect is never lost
    known, defective = ((test.label == 0) | test.mask_path.notna()).to_numpy(), masks.any(axis=(1, 2))
    if defective.any():
        row |= pixel_measures(count_pixels(maps[known], masks[known]))
        row["pointing"] = pointing_hits(maps[defective], masks[defective]).mean()
    return row


def with_means(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    "`table` and a row `mean` a method; its interval is that of the mean over categories in every resample, as in phase 01."
    means = []
    for method, own in table.groupby("method"):
        s = scores[(scores.method == method) & scores.category.isin(own.category)]
        mean_auroc = lambda rows: np.mean(
            [roc_auc_score(c.label, c.score) for _, c in s.iloc[rows].groupby("category")]
        )
        low, high = bootstrap_interval(mean_auroc, (s.category + "/" + s.defect).to_numpy(), 300)
        mean = own.mean(numeric_only=True).to_dict() | {
            "images": own.images.sum(),
            "auroc_low": low,
            "auroc_high": high,
        }
        means.append({"method": method, "category": "mean"} | mean)
    return pd.concat([table.sort_values("category"), pd.DataFrame(means)]).sort_values(
        "method", kind="stable"
    )


def write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as tmp:
        table.to_csv(tmp, index=False, float_format="%.6g")


def compare(reference: Reference, args: argparse.Namespace) -> None:
    "Bring the tables in `args.out` up to date."
    files = [args.out / name for name in ("reference_config.json", "reference.csv", "reference_scores.csv")]
    made_with = {
        "backbone": reference.name,
        "size": reference.size,
        "coreset": reference.coreset,
        "images": reference.cache.fingerprint,
    }
    if files[0].exists() and (kept := read_json(files[0])) != made_with:
        raise ValueError(
            f"{args.out}: its tables were made with {kept}, not with {made_with}; name another --out, or remove that folder"
        )
    write_json(files[0], made_with)
    nothing = pd.DataFrame(columns=["method", "category"])
    table, scores = (pd.read_csv(f).query("category != 'mean'") if f.exists() else nothing for f in files[1:])
    for category, method in itertools.product(
        args.categories or reference.index.category.unique(), args.methods
    ):
        if ((table.method == method) & (table.category == category)).any():
            continue
        (model, seconds), (test, images) = reference.fit(method, category), reference.load(category, "test")
        start = time.perf_counter()
        score, maps = reference.judge(model, images)
        ms = 1000 * (time.perf_counter() - start) / len(images)
        found = measure(test, score, maps, reference.cache.masks[test.index]) | {
            "seconds_fit": seconds,
            "ms_per_image": ms,
        }
        table = pd.concat([table, pd.DataFrame([{"method": method, "category": category} | found])])
        own = test[["category", "image_id", "defect", "label"]].assign(method=method, score=score)
        scores = pd.concat([scores, own]).drop_duplicates(
            ["method", "image_id"], keep="last"
        )  # of a run stopped before the next line
        write_csv(files[2], scores)
        write_csv(files[1], with_means(table, scores))
        print(
            f"{category} {method}: image AUROC {found['image_auroc']:.3f}, fitted in {seconds:.0f} s",
            flush=True,
        )


def main(about: str, work) -> None:
    "Read the command line and do `work(reference, args)`."
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument(
        "--run", type=Path, default=Path("runs/sample"), help="a run whose phases 00 and 01 are done"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--categories", nargs="+", metavar="NAME", help="default: all of the run")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--size", type=int, default=256, help="pixels, at most what the run keeps; a transformer takes that"
    )
    parser.add_argument(
        "--coreset", type=float, default=0.01, help="share of the patches that PatchCore keeps"
    )
    parser.add_argument("--backbone", help="timm name, to do without phase 01 of the run")
    args = parser.parse_args()
    if not find_spec("anomalib"):
        sys.exit(
            "anomalib is not installed in this environment; the head of benchmarks/reference.py says how to make one that has it"
        )
    try:
        work(Reference(args.run, args.backbone, args.size, args.coreset), args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(__doc__, compare)

"""What does a finished system do with images that it never saw? A fifth of every type of defect, and of test/good, is set aside first.

The other four fifths, with all of train/, are a data set of links; all phases run on it, and the pipeline of that run, as it would be
deployed, inspects the fifth once. Beside its figures stand those that the same run states of itself, out-of-fold. The table is unseen.csv;
intervals are 95 %: of rates by Clopper and Pearson, of the others by bootstrap within categories and types. More than an hour on two
cores; with --detector, which stops after phase 01 and leaves types and maps out, half of it.

    .venv/bin/python benchmarks/unseen.py --data ../shared/mvtec_ad --out runs/unseen
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, roc_auc_score

from mvtec_xai.blocks.calibration import expected_calibration_error
from mvtec_xai.blocks.evaluation import mean_over_categories, measure_maps, rate_with_interval
from mvtec_xai.blocks.masks import read_mask
from mvtec_xai.blocks.metrics import bootstrap_interval, central_interval, defect_masks
from mvtec_xai.blocks.runs import atomic_path, read_json
from mvtec_xai.classifier import load_extractor
from mvtec_xai.data import assign_folds, index_dataset
from mvtec_xai.gradcam import explain_heads, upsample
from mvtec_xai.pipeline import Clock, InspectionPipeline, Ready, decide
from mvtec_xai.stages import Detect, Shared
from mvtec_xai.tools.phases import Plan, find_repository
from mvtec_xai.tools.reproduce import reproduce

SEED = 2026  # of the dealing alone: the phases deal their own folds with another
SIDE = 224  # pixels, at which maps are compared with masks, as in 02


def set_aside(data: Path, root: Path, categories: list[str]) -> pd.DataFrame:
    "Link all but a fifth of the test images of `data`, with their masks, into `root`; the index of that fifth."
    index = index_dataset(data, categories)
    dealt = assign_folds(index, 5, SEED)
    for row in dealt[dealt.fold != 0].itertuples():
        for file in (f for f in (row.path, row.mask_path) if isinstance(f, str)):
            link = root / Path(file).relative_to(data.absolute())
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file)
    return dealt[dealt.fold == 0].reset_index(drop=True)


def inspect_unseen(pipeline: InspectionPipeline, unseen: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    "Verdict, probability and type of every image of `unseen`, and the maps (n, h, w) that all of them would get, on the heads' grid."
    found = pipeline.inspect(list(unseen.path), list(unseen.category))
    maps = []
    for path, category in zip(unseen.path, unseen.category, strict=True):
        image = pipeline.read(path)
        (task,) = decide(pipeline, [Ready(path, category, image, image)], Clock())
        maps.append(explain_heads(pipeline.shared.detectors[category].heads, task.maps)[0])
    decided = {name: [getattr(i, name) for i in found] for name in ("verdict", "probability", "defect_type")}
    return unseen.assign(**decided), np.stack(maps)


def detector_of(run: Path) -> InspectionPipeline:
    "The pipeline of the first stage alone, of a run that has phases 00 and 01."
    folder = run / "01_classifier"
    about = read_json(run / "00_data" / "config.json")
    shared = Shared(load_extractor(folder), about["categories"], about["image_size"], bits=about["bits"])
    return InspectionPipeline(shared, {"detect": Detect.load(folder, shared)})


def rate(count: int, of: int) -> dict:
    "A rate of `count` in `of`, with its interval."
    row = rate_with_interval(count, of)
    return {"value": row.pop("measured"), **row, "count": count, "of": of}


def mean_over(table: pd.DataFrame, measure) -> dict:
    "The mean over categories of `measure(part)`, with its interval."
    table = table.reset_index(drop=True)

    def value(rows: np.ndarray) -> float:
        return mean_over_categories(table.iloc[rows], measure)

    low, high = bootstrap_interval(value, (table.category + "/" + table.defect).to_numpy(), 500)
    return {"value": value(np.arange(len(table))), "low": low, "high": high, "of": len(table)}


def measure_decisions(decided: pd.DataFrame) -> dict[str, dict]:
    "What the pipeline's answers are worth: discrimination, counts, types."
    wrong = decided.verdict.eq("review") | decided.verdict.eq("anomalous").ne(decided.label == 1)
    named = decided.defect_type.eq(decided.defect) | (decided.label == 0)
    good, bad = decided[decided.label == 0], decided[decided.label == 1]
    found = bad[bad.verdict == "anomalous"]
    decided = decided.assign(called=decided.verdict.eq("anomalous"), right=~wrong & named)
    return {
        "image AUROC": mean_over(decided, lambda p: roc_auc_score(p.label, p.probability)),
        "F1": mean_over(decided, lambda p: f1_score(p.label, p.called)),
        "calibration error": {
            "value": expected_calibration_error(decided.label.to_numpy(), decided.probability.to_numpy()),
            "of": len(decided),
        },
        "missed defects": rate(int((bad.verdict == "normal").sum()), len(bad)),
        "false alarms": rate(int((good.verdict == "anomalous").sum()), len(good)),
        "reviews": rate(int((decided.verdict == "review").sum()), len(decided)),
        "refused as not this part": rate(int((decided.verdict == "unfamiliar").sum()), len(decided)),
        "type of found defects": rate(int((found.defect_type == found.defect).sum()), len(found)),
        "whole answer right": rate(int(decided.right.sum()), len(decided)),
    }


def measure_explanations(unseen: pd.DataFrame, maps: np.ndarray, masks: np.ndarray) -> dict[str, dict]:
    "Means of the pixel measures over the categories with masks."
    known, table = (unseen.label == 0) | unseen.mask_path.notna(), []
    for category in sorted(set(unseen.category[unseen.mask_path.notna()])):
        own = np.flatnonzero(known & (unseen.category == category))
        table.append(measure_maps(maps[own], masks[own], unseen.defect.to_numpy()[own]))
    rows, draws = zip(*table, strict=True)
    measured = {}
    for name, key in (("pixel AUROC", "pixel_auroc"), ("AUPRO", "aupro"), ("pointing", "pointing")):
        low, high = central_interval(np.mean([d[key] for d in draws], axis=0))
        measured[name] = {
            "value": np.mean([r[key] for r in rows]),
            "low": low,
            "high": high,
            "of": int(unseen.mask_path.notna().sum()),
        }
    return measured


def stated(run: Path) -> dict[str, float]:
    "What the run states of itself, out-of-fold, and of its limits; types and maps only where it has got so far."

    def read(name: str, key: str) -> pd.DataFrame:
        return pd.read_csv(run / "figures" / "tables" / f"{name}.csv").set_index(key)

    detection, risk = read("detection", "category").loc["mean"], read("detection_risk", "risk").stated
    refused = read("detection_unfamiliar", "kind").loc[["good", "defective"]].sum()
    claims = {
        "image AUROC": detection.image_auroc,
        "calibration error": detection.ece,
        "missed defects": risk["missed defects"],
        "false alarms": risk["false alarms"],
        "reviews": detection.ambiguous,
        "refused as not this part": refused.refused / refused.images,
    }
    if not (run / "06_pipeline" / "pipeline.json").is_file():
        return claims
    ends, maps = read("end_to_end", "category").loc["mean"], read("localisation", "category").loc["mean"]
    return claims | {
        "F1": ends.f1_review_is_error,
        "reviews": ends.review_share,
        "type of found defects": ends.type_accuracy_of_found,
        "whole answer right": read("ablation", "chain").all_right.iloc[0],
        "pixel AUROC": maps.pixel_auroc,
        "AUPRO": maps.aupro,
        "pointing": maps.pointing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a data set in the layout of MVTec AD")
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for the links, the run and the table"
    )
    parser.add_argument("--detector", action="store_true", help="only phases 00 and 01: no types, no maps")
    parser.add_argument("--categories", nargs="*", default=[], help="only these; default: all")
    args = parser.parse_args()
    out = args.out.absolute()
    unseen, run = set_aside(args.data, out / "data", args.categories), out / "run"
    plan = Plan(find_repository() / "nbs", run, run / "figures", data=str(out / "data"), profile="full")
    for phase in ("00", "01") if args.detector else list(plan.reads):
        reproduce(plan, only=phase)
    pipeline = detector_of(run) if args.detector else InspectionPipeline.from_pretrained(run)
    decided, maps = inspect_unseen(pipeline, unseen)
    measured, claims = measure_decisions(decided), stated(run)
    if not args.detector:
        measured |= measure_explanations(decided, upsample(maps, SIDE), masks_of(unseen, pipeline.image_size))
    rows = [
        {"measure": name, "out-of-fold": claims[name], **measured[name]}
        for name in measured
        if name in claims
    ]
    table = pd.DataFrame(rows)
    decided.drop(columns=["path", "mask_path"]).to_parquet(out / "decided.parquet")
    with atomic_path(out / "unseen.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    print(table.round(4).to_string(index=False))


def masks_of(unseen: pd.DataFrame, size: int) -> np.ndarray:
    "The masks (n, SIDE, SIDE) of images, empty where there is none."
    empty = np.zeros((size, size), bool)
    masks = [read_mask(m, size) if isinstance(m, str) else empty for m in unseen.mask_path]
    return defect_masks(np.stack(masks), SIDE)


if __name__ == "__main__":
    main()

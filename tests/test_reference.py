"""The comparison with anomalib's models, but for the models, which are not installed here."""

import argparse
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import reference


def test_farthest_points_are_the_farthest():
    rows = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    chosen = reference.k_center_greedy(rows, 20)
    for k in range(1, 20):
        assert torch.cdist(rows, rows[chosen[:k]]).amin(dim=1).argmax() == chosen[k]
    assert len(set(reference.k_center_greedy(torch.ones(9, 2), 9).tolist())) == 9


class Stub:
    "Two categories of six test images; the lower half of the defective ones is defective, and found in `a` but not in `b`."

    name, size, coreset = "none", 32, 0.01

    def __init__(self):
        rows = [
            (f"{c}/{i}", c, "bad" if i > 2 else "good", int(i > 2), "m" if i > 2 else None)
            for c in "ab"
            for i in range(6)
        ]
        self.index = pd.DataFrame(rows, columns=["image_id", "category", "defect", "label", "mask_path"])
        masks = np.zeros((12, 32, 32), np.uint8)
        masks[self.index.label == 1, 16:] = 1
        self.cache, self.fitted = SimpleNamespace(masks=masks, fingerprint="x"), []

    def fit(self, method, category):
        self.fitted.append((method, category))
        return category, 1.0

    def load(self, category, folder):
        own = self.index[self.index.category == category]
        return own, np.zeros((len(own), 32, 32, 3), np.uint8)

    def judge(self, model, images):
        sign = 1 if model == "a" else -1
        return sign * np.arange(6.0), sign * self.cache.masks[:6].astype(np.float32)


def test_tables_grow_category_by_category(tmp_path):
    args = argparse.Namespace(out=tmp_path, categories=["a"], methods=["padim"])
    reference.compare(Stub(), args)
    args.categories, stub = None, Stub()
    reference.compare(stub, args)
    assert stub.fitted == [("padim", "b")]
    table = pd.read_csv(tmp_path / "reference.csv").set_index("category")
    assert list(table.index) == ["a", "b", "mean"]
    measures = table[["images", "image_auroc", "auroc_low", "f1_max", "pixel_auroc", "pointing"]]
    assert measures.loc["a"].tolist() == [6, 1, 1, 1, 1, 1]
    assert measures.loc["b", ["image_auroc", "pixel_auroc", "pointing"]].tolist() == [0, 0, 0]
    assert measures.loc["mean", ["images", "image_auroc", "auroc_low"]].tolist() == [12, 0.5, 0.5]
    assert len(pd.read_csv(tmp_path / "reference_scores.csv")) == 12
    stub.size = 64
    with pytest.raises(ValueError, match="name another --out"):
        reference.compare(stub, args)


def test_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["reference.py", "--run", str(tmp_path), "--out", str(tmp_path)])
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="anomalib is not installed"):
        reference.main("about", reference.compare)
    monkeypatch.setattr(reference, "find_spec", lambda name: True)
    with pytest.raises(SystemExit, match="reproduce --only 00"):
        reference.main("about", reference.compare)

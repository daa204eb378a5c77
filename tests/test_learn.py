"""Learning a part from a folder, as a user meets it: what is made, what is refused, and that nothing else changes."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mvtec_xai.blocks.photographs import read_image
from mvtec_xai.good_parts import GoodPartsConfig
from mvtec_xai.pipeline import InspectionPipeline, read_ready
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.ways import LearnConfig
from mvtec_xai.workshop import forget_category


@pytest.fixture(scope="module")
def bottles(tmp_path_factory) -> Path:
    "Eight drawn bottles that are good, right in a folder, and next to it some that are not."
    root = make_sample(tmp_path_factory.mktemp("drawn"), train=8, good=2, per_type=2, categories=["bottle"])
    return root / "bottle"


@pytest.fixture(scope="module")
def learned(bottles, program, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "pipeline"
    good = bottles / "train" / "good"
    said = program("learn", good, "--out", out, "--category", "flask", "--image-size", "96")
    assert said.returncode == 0, said.stderr
    assert "flask: learned from good parts only" in said.stdout
    assert "no rate under 11% can be promised" in said.stdout  # one in nine
    return out


def test_what_was_learned_judges(learned, bottles, program, tmp_path):
    out = tmp_path / "inspected"
    said = program("inspect", bottles / "test", "--run", learned, "--category", "flask", "--out", out)
    assert said.returncode == 0, said.stderr
    table = pd.read_csv(out / "inspections.csv")
    broken = table.path.str.contains("broken_large")
    assert (table.verdict[broken] == "anomalous").all() and broken.sum() == 2
    lines = [json.loads(line) for line in (out / "inspections.jsonl").read_text().splitlines()]
    assert {line["basis"] for line in lines} == {"good parts only"}


def test_a_part_more_leaves_the_other_bit_for_bit(learned, bottles, program, tmp_path):
    more = make_sample(tmp_path / "drawn", train=6, good=1, per_type=1, categories=["zipper"]) / "zipper"
    out = tmp_path / "two"
    said = program("learn", more, "--run", learned, "--out", out)
    assert said.returncode == 0, said.stderr
    images = sorted(str(p) for p in (bottles / "test").rglob("*.png"))
    one, two = (InspectionPipeline.from_pretrained(p) for p in (learned, out))
    assert two.categories == ["flask", "zipper"]
    assert [i.probability for i in one.inspect(images, "flask")] == [
        i.probability for i in two.inspect(images, "flask")
    ]
    assert program("forget", "zipper", "--run", out).returncode == 0
    assert InspectionPipeline.from_pretrained(out).categories == ["flask"]
    assert not list((out / "01_classifier").glob("zipper/*"))


def draw(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), "grey").save(path)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: f, "no photograph of a good part"),
        (lambda f: f / "nowhere", "no such folder"),
        (lambda f: (f / "torn.png").write_bytes(b"nothing") and f, "no good part that can be read"),
        (lambda f: (f / "crack").mkdir() or f, "no photograph of a good part"),
        (lambda f: draw(f / "0.png") and draw(f / "crack" / "0.png") and f, "move good ones into good/"),
    ],
    ids=["empty", "missing", "unreadable", "no good ones", "good ones beside a type"],
)
def test_bad_folders_are_named_and_leave_nothing(make, says, program, tmp_path):
    (folder := tmp_path / "photographs").mkdir()
    said = program("learn", make(folder), "--out", tmp_path / "out", "--image-size", "64")
    assert said.returncode == 2 and says in said.stderr and "photographs" in said.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photographs"]


def test_with_few_defects_two_opinions_are_added(learned, bottles, program, tmp_path):
    more = make_sample(tmp_path / "drawn", train=10, good=2, per_type=2, categories=["screw"]) / "screw"
    out, seen = tmp_path / "two", tmp_path / "inspected"
    said = program("learn", more, "--run", learned, "--out", out)
    assert said.returncode == 0, said.stderr
    assert "screw: learned from good parts, defects and masks, two opinions added" in said.stdout
    assert "are too few to compare by (10): both opinions are added" in said.stdout
    assert "misses: with" in said.stdout and "can be promised" in said.stdout
    pipeline = InspectionPipeline.from_pretrained(out)
    kinds = [type(head).__name__ for head in pipeline.shared.detectors["screw"].heads]
    assert kinds == ["DenseHead", "DenseHead", "GoodPartsHead"]
    said = program("inspect", more / "test", "--run", out, "--category", "screw", "--out", seen)
    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in (seen / "inspections.jsonl").read_text().splitlines()]
    assert all(line["basis"].endswith("two opinions added") for line in lines)
    assert '"added": true' in (seen / "index.html").read_text()
    again = InspectionPipeline.from_pretrained(pipeline.save_pretrained(tmp_path / "again"))
    images = sorted(str(p) for p in (more / "test").rglob("*.png"))
    first, second = pipeline.inspect(images, "screw"), again.inspect(images, "screw")
    assert [i.probability for i in first] == [i.probability for i in second]
    assert any(i.score_map is not None for i in first)
    known = sorted(str(p) for p in (bottles / "test").rglob("*.png"))
    before = InspectionPipeline.from_pretrained(learned).inspect(known, "flask")
    assert [i.probability for i in before] == [i.probability for i in pipeline.inspect(known, "flask")]


def test_long_pictures_are_padded_and_their_maps_lie_on_them(bottles, program, tmp_path):
    (tmp_path / "tall" / "good").mkdir(parents=True)
    (tmp_path / "torn").mkdir()
    for path in sorted((bottles / "train" / "good").iterdir()):  # three bottles, one below the other
        rows = np.concatenate(3 * [np.asarray(Image.open(path).convert("RGB"))])
        Image.fromarray(rows).save(tmp_path / "tall" / "good" / path.name)
    side = rows.shape[1]
    rows[4 * side // 3 : 5 * side // 3, side // 3 : 2 * side // 3] = (200, 30, 30)  # on the middle one
    Image.fromarray(rows).save(tmp_path / "torn" / "0.png")
    said = program("learn", tmp_path / "tall", "--out", tmp_path / "pipeline", "--image-size", "128")
    assert said.returncode == 0 and "padded to one, not squeezed" in said.stdout, said.stderr
    pipeline = InspectionPipeline.from_pretrained(tmp_path / "pipeline")
    assert pipeline.shared.fills.keys() == {"tall"}
    path, fill = tmp_path / "torn" / "0.png", pipeline.shared.fills["tall"]
    assert (pipeline.read(path, category="tall")[:, 0] == fill).all()  # beside the picture
    found = pipeline.inspect(path)  # nobody says what it is: all that is known is padded
    assert (found.category, found.padded, found.verdict) == ("tall", True, "anomalous")
    assert found.anomaly_map.shape == (128, 128)
    place = np.unravel_index(found.anomaly_map.argmax(), (128, 128))
    assert all(abs(at / 128 - 0.5) < 1 / 6 for at in place)  # the middle of the picture
    across = found.seen_region.any(axis=0)  # of the square that the network saw
    assert (
        0 < across.sum() < found.region.any(axis=0).sum() and not across[:42].any() and not across[86:].any()
    )
    quick = LearnConfig(GoodPartsConfig(patches=100, steps=10, parts=2))
    flasks = [str(p) for p in sorted((bottles / "train" / "good").iterdir())]
    both = pipeline.learn("flask", flasks, config=quick)  # squeezed: a picture may now be read in two ways
    unnamed, flask = both.inspect([path, read_image(flasks[0])])
    assert (unnamed.category, unnamed.category_source, unnamed.padded) == ("tall", "model", True)
    assert unnamed.probability == both.inspect(path, "tall").probability == found.probability
    assert (flask.category, flask.padded) == ("flask", False)
    assert not read_ready(flasks[0], None, both).others  # a square picture is read alike in both ways
    read = read_ready(path, None, both)
    assert [way.suits for way in (read, *read.others)] == [["flask"], ["tall"]]
    tall = [Image.open(p) for p in sorted((tmp_path / "tall" / "good").iterdir())]
    alike = pipeline.learn("tall", tall, config=quick)
    assert alike.shared.fills == pipeline.shared.fills
    assert program("forget", "tall", "--run", tmp_path / "pipeline").returncode == 0
    assert InspectionPipeline.from_pretrained(tmp_path / "pipeline").shared.fills == {}


def test_a_type_more_from_two_images(bottles, program, tmp_path):
    known, out, new = tmp_path / "known", tmp_path / "out", tmp_path / "new" / "tear"
    said = program("learn", bottles, "--out", known, "--category", "flask", "--image-size", "96")
    assert said.returncode == 0 and "no types" in said.stdout, said.stdout + said.stderr
    shutil.copytree(bottles / "test" / "contamination", new)
    command = "learn", new.parent, "--run", known, "--category", "flask", "--out", out
    said = program(*command)
    assert said.returncode == 2 and "no type of defect is known" in said.stderr
    more = make_sample(tmp_path / "drawn", train=6, good=2, per_type=3, categories=["bottle"]) / "bottle"
    said = program("learn", more, "--out", tmp_path / "typed", "--category", "flask", "--image-size", "96")
    assert said.returncode == 0, said.stderr
    command = "learn", new.parent, "--run", tmp_path / "typed", "--category", "flask", "--out", out
    said = program(*command)
    assert said.returncode == 0 and "type tear: learned from 2 images" in said.stdout, said.stderr
    assert "tear" in InspectionPipeline.from_pretrained(out).shared.classifiers["flask"].types


def test_a_study_learns_a_type_in_whitened_features(finished, own, tmp_path):
    pipeline = InspectionPipeline.from_pretrained(finished)
    images = sorted(str(p) for p in (own / "washer" / "test").rglob("*.png"))
    others = sorted(str(p) for p in (own / "lid" / "test").rglob("*.png"))
    before, known = pipeline.inspect(images, "washer"), pipeline.shared.classifiers["washer"].types
    grown = pipeline.learn_type("washer", "dent", images[:2])
    model = grown.shared.classifiers["washer"]
    assert (type(model.encoder).__name__, model.types) == ("Whitened", [*known, "dent"])
    assert model.prototypes.shape[:2] == (len(known) + 1, 1) and not model.handicap
    after = grown.inspect(images, "washer")
    assert [i.probability for i in after] == [i.probability for i in before]
    said = [p.inspect(others, "lid") for p in (pipeline, grown)]
    assert [(i.probability, i.type_distances) for i in said[0]] == [
        (i.probability, i.type_distances) for i in said[1]
    ]
    more = grown.learn_type("washer", "tear", images[2:4])  # the second one finds whitened features there
    assert more.shared.classifiers["washer"].types == [*known, "dent", "tear"]
    folder = more.save_pretrained(tmp_path / "saved")
    InspectionPipeline.from_pretrained(folder).forget("washer").save_pretrained(tmp_path / "without")
    assert not list((tmp_path / "without").rglob("washer*"))
    forget_category(folder, "washer")  # in its place
    assert not list(folder.rglob("washer*"))


def test_wrong_use_is_refused(learned, bottles, program, tmp_path):
    good, new = bottles / "train" / "good", tmp_path / "new"
    (empty := tmp_path / "empty").mkdir()
    for given, says in (
        (("--out", learned, "--category", "vase"), "not an empty folder"),
        (("--out", new, "--run", learned, "--category", "flask"), "'flask' is known already"),
        (
            ("--out", new, "--run", learned, "--category", "a", "--image-size", "64"),
            "has a network of its own",
        ),
        (("--out", new, "--run", learned, "--category", "vase"), "look like good parts of 'flask'"),
        (("--out", new, "--run", tmp_path / "none"), "no such run folder"),
        (("--out", new), "'good' cannot be the name of a part"),  # the folder's
        (("--out", ".", "--category", "vase"), "name a new folder inside it"),
    ):
        said = program("learn", good, *given, cwd=empty)
        assert said.returncode == 2 and says in said.stderr, said.stderr
    types = shutil.copytree(bottles / "test" / "broken_large", tmp_path / "more" / "crack").parent
    said = program("learn", types, "--out", new, "--run", learned, "--category", "flask", "--replace")
    assert said.returncode == 2 and "types alone, for a part that is known" in said.stderr
    said = program("forget", "gear", "--run", learned)
    assert said.returncode == 2 and "no category 'gear'; there are flask" in said.stderr
    assert not new.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_stopped_half_way_makes_no_pipeline(how, bottles, tmp_path):
    out, command = tmp_path / "out", Path(sys.executable).with_name("mvtec-xai")
    learning = [command, "learn", bottles, "--out", out, "--image-size", "96"]
    running = subprocess.Popen(learning, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.*/new/01_classifier")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(how)
    said = running.communicate()[1]
    assert not out.exists()
    if how == signal.SIGINT:
        assert running.returncode == 130 and "stopped; nothing was changed" in said
        assert not list(tmp_path.iterdir())

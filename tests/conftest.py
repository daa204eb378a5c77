"""What several tests use: the repository, the installed program, real images where they are, a small finished run, a browser."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mvtec_xai.blocks.runs import read_json, write_json
from mvtec_xai.pipeline import InspectionPipeline
from mvtec_xai.sample.dataset import make_sample
from mvtec_xai.stages import Shared, Stage
from mvtec_xai.tools.phases import Plan
from mvtec_xai.tools.reproduce import reproduce

ROOT = Path(__file__).parents[1]
COLUMNS = [  # of inspections.csv: others read it
    *("path", "status", "error", "category", "verdict", "probability", "low", "high"),
    *("verified", "reconstruction_percentile", "defect_type", "type_confidence", "ms"),
    *("category_source", "category_confidence", "category_suggested"),
]
SIZES = [
    "defects",
    "defect_area",
    "largest_defect",
    "longest_side",
]  # behind them, where outlines were learned
TINY = {
    "00_data": {"image_size": 64, "folds": 3},
    "01_classifier": {"patches": 50, "steps": 8},
    "02_gradcam": {"side": 64, "probed": 1},
    "03_autoencoder": {"side": 32, "pixel_steps": 8, "feature_steps": 8},
    "04_contrastive": {"steps": 5, "views": 1, "shots": [1, 3]},
    "10_category": {"copied": 2, "judged": 1},
    "11_segmentation": {
        "studied": 0,
        "views": 1,
        "good": 2,
        "steps": 2,
        "width": 8,
        "side": 64,
        "type_steps": 3,
    },
    "12_generative": {"studied": 0, "steps": 12},
    "13_semantic": {"steps": 2, "shots": [1], "vectors": 1000},
    "14_generalisation": {
        "shots": [1],
        "good_patches": 50,
        "good_steps": 4,
        "head_steps": 4,
        "side": 64,
        "type_steps": 4,
    },
}


class Blind(torch.nn.Module):
    "In place of a feature extractor."

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return [images]


def stand_in(stage: Stage, categories: list[str], size: int) -> InspectionPipeline:
    "A pipeline of one stage, without networks."
    return InspectionPipeline(Shared(Blind(), categories, size), {"detect": stage})


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    "MVTec AD: where MVTEC_AD_ROOT says, else beside the repository."
    path = Path(os.environ.get("MVTEC_AD_ROOT", ROOT.parent / "shared" / "mvtec_ad"))
    if not path.is_dir():
        pytest.skip(f"there is no MVTec AD at {path}; set MVTEC_AD_ROOT")
    return path


@pytest.fixture(scope="session")
def program():
    "The installed command line: program('data', 'check', ...) gives the finished process."

    def call(*words, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [Path(sys.executable).with_name("mvtec-xai"), *map(str, words)],
            capture_output=True,
            text=True,
            **options,
        )

    return call


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    "once(make, name): a folder that one of the processes of pytest-xdist makes, while the others wait for it."
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(make: Callable[[Path], None], name: str) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def own(once):
    "A data set in the layout of MVTec AD, with names of its own; `lid` has no masks."

    def make(root: Path) -> None:
        make_sample(root, train=6, good=5, per_type=4, size=64, categories=["bottle", "metal_nut"])
        (root / "sample.json").unlink()
        (root / "bottle").rename(root / "lid")
        (root / "metal_nut").rename(root / "washer")
        shutil.rmtree(root / "lid" / "ground_truth")

    return once(make, "own")


@pytest.fixture(scope="session")
def finished(once, own):
    "A run of all phases on `own`, as small as it gets, its figures in Spanish."

    def make(run: Path) -> None:
        plan = Plan(ROOT / "nbs", run, run / "figures", data=str(own), language="es", overrides=TINY)
        reproduce(plan)

    return once(make, "run")


def suspecting(finished: Path, run: Path) -> Path:
    "Copy a finished run to `run`, with a detector that suspects every part; return that."
    shutil.copytree(finished, run)
    file = run / "01_classifier" / "config.json"
    config = read_json(file)
    for limits in config["thresholds"].values():
        limits |= {"low": 0.0, "high": 0.0, "familiar": 1e9}
    write_json(file, config)
    return run


@pytest.fixture(scope="session")
def browser():
    "Chromium without a window, or a skip where there is none."
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no chromium on this machine; install it (apt-get install chromium)")
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def grave():
    "grave(page): what keeps people from reading or using a page, critical and serious findings of axe."
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )

    def found(page) -> list[tuple[str, str]]:
        violations = axe.Axe().run(page).response["violations"]
        grave = [v for v in violations if v["impact"] in ("serious", "critical")]
        return [(v["id"], v["nodes"][0]["html"][:200]) for v in grave]

    return found


def pytest_collection_modifyitems(items):
    "Begin with a file that has the finished run made, which takes minutes; meanwhile others run that do not need it."
    needing = {item.path for item in items if "finished" in item.fixturenames}
    first = min(needing, default=None)
    items.sort(key=lambda item: 0 if item.path == first else 1 + (item.path in needing))


def pytest_terminal_summary(terminalreporter):
    "Say at the end what was not tested here, so that green does not pass for whole."
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"NOT TESTED: {count} tests, since {reason}", yellow=True)

"""The package as it is installed: a wheel made of the source archive, beside nothing but what it asks for.

The environments hold links to the packages of this one, so that nothing is fetched or installed.
"""

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mvtec_xai.blocks.carried import EXTRAS
from mvtec_xai.pipeline import InspectionPipeline

SOURCE = ("mvtec_xai", "nbs", "report", "settings.ini", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def asked(section: str = "") -> list[str]:
    "The requirements of the package, or those of an extra."
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini")
    return settings["DEFAULT"][f"{section}_requirements" if section else "requirements"].split()


def needed(requirements: list[str]) -> set[str]:
    "The installed distributions that are needed for `requirements`, and for what these need."
    found, todo = set(), [(Requirement(r), "") for r in requirements]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name in found and not requirement.extras:
            continue
        try:
            further = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform, or one that this environment can do without
            continue
        found.add(name)
        todo += [(Requirement(r), e) for r in further for e in ("", *requirement.extras)]
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    "The wheel, made of the source archive, made of the source."
    folder = tmp_path_factory.mktemp("build")
    source, archive = folder / "source", folder / "archive"
    source.mkdir()
    for name in SOURCE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    quiet = {"check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "setup.py", "-q", "sdist", "-d", archive], cwd=source, **quiet)
    with tarfile.open(next(archive.glob("*.tar.gz"))) as tar:
        tar.extractall(archive, filter="data")
    (unpacked,) = (p for p in archive.iterdir() if p.is_dir())
    subprocess.run([sys.executable, "setup.py", "-q", "bdist_wheel", "-d", folder], cwd=unpacked, **quiet)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    "An environment that holds the wheel and what it needs: installed(EXTRA, ...) gives its Python."
    made = {}

    def install(*extras: str) -> Path:
        if extras not in made:
            folder = tmp_path_factory.mktemp("environment")
            venv.create(folder, symlinks=True)
            (site,) = folder.glob("lib/python*/site-packages")
            for name in needed([r for section in ("", *extras) for r in asked(section)]):
                link(name, site)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            made[extras] = folder / "bin" / "python"
        return made[extras]

    return install


def link(name: str, site: Path) -> None:
    "Make the packages of a distribution of this environment known in another."
    own = distribution(name)
    tops = {Path(file).parts[0] for file in own.files or []} - {"..", "__pycache__"}
    for top in tops:
        if not (site / top).exists() and (place := Path(own.locate_file(top))).exists():
            (site / top).symlink_to(place)


def call(python: Path, *words, **options) -> subprocess.CompletedProcess:
    "Run the program of an environment, away from the repository."
    command = [python, "-P", "-m", "mvtec_xai", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, **options)


def test_an_extra_brings_the_modules_that_are_said_to_come_with_it():
    brought = packages_distributions()
    for extra, modules in EXTRAS.items():
        names = {canonicalize_name(Requirement(r).name) for r in asked(extra)}
        for module in modules:
            assert {canonicalize_name(n) for n in brought.get(module, [])} & names or module not in brought
        assert len(names) >= len(modules) - 1


def test_inspect_needs_no_extra(installed, finished, own, tmp_path):
    saved = InspectionPipeline.from_pretrained(finished).save_pretrained(tmp_path / "saved")
    done = call(
        installed(), "inspect", own / "lid" / "test", "--run", saved, "--out", tmp_path / "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "inspections.csv")
    assert len(table) == len(list((own / "lid" / "test").glob("*/*.png")))
    assert (table.status == "ok").all() and (tmp_path / "out" / "index.html").is_file()
    assert {"anomalous", "review"} & set(table.verdict), "nothing was explained"


@pytest.mark.parametrize(
    "words, extra",
    [
        (("reproduce",), "study"),
        (("learn", "{own}/lid/train/good", "--out", "{tmp}/lids"), "study"),
        (("app", "--run", "{tmp}"), "app"),
        (("report",), "report"),
        (("export", "--run", "{tmp}", "--category", "lid", "--out", "{tmp}/lid.onnx"), "export"),
        (
            ("inspect", "{own}", "--run", "{tmp}", "--out", "{tmp}/out", "--cluster", "tcp://host:8786"),
            "cluster",
        ),
        (("inspect", "s3://line/day", "--run", "{tmp}", "--out", "{tmp}/out"), "s3"),
        (("inspect", "{own}", "--run", "{tmp}", "--out", "s3://line/out"), "s3"),
    ],
)
def test_what_is_absent_is_named_with_its_command(installed, own, tmp_path, words, extra):
    done = call(installed(), *(w.format(own=own, tmp=tmp_path) for w in words), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'mvtec_xai[{extra}]'" in done.stderr and done.stderr.count("\n") == 1


def test_it_says_its_version(installed, tmp_path):
    assert call(installed(), "--version", cwd=tmp_path).stdout.startswith("mvtec-xai 0.")


def test_reproduce_needs_no_repository(installed, own, tmp_path):
    words = ("reproduce", "--data", own, "--only", "00", "--image-size", "64", "--no-report")
    done = call(installed("study"), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "sample"
    assert (run / "00_data" / "headline.json").is_file() and (run / "notebooks" / "00_data.ipynb").is_file()


def test_the_wheel_is_small_and_carries_no_outputs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        carried = [n for n in archive.namelist() if n.startswith("mvtec_xai/project/nbs/")]
        assert len(carried) == len(list((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb")))
        assert not any(b'"output_type"' in archive.read(name) for name in carried)
    assert wheel.stat().st_size < 2_000_000

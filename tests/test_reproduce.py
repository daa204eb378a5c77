"""Reproduce, with toy phases: a kill in the middle, the lock, failures. The notebook has the ordinary cases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

import mvtec_xai
from mvtec_xai.blocks.digests import source_digest
from mvtec_xai.blocks.locks import locked
from mvtec_xai.blocks.runs import write_json
from mvtec_xai.tools import cli, phases, unstudied
from mvtec_xai.tools.phases import Plan, _drawn_elsewhere, code_of
from mvtec_xai.tools.reproduce import PhaseError, reproduce, summary

READS = {"00_data": (), "01_slow": ("00_data",), "02_last": ("01_slow",)}
CODE = """from pathlib import Path; import time
out = Path(run) / '{name}'; out.mkdir(parents=True, exist_ok=True)
log = Path(run) / 'log'; log.write_text((log.read_text() if log.exists() else '') + '{name} ')
{body}
(out / 'value').write_text('1'); (out / 'headline.json').write_text('{{}}')"""


def toy(folder, name, body=""):
    parameters = nbformat.v4.new_code_cell(
        "run = ''\nfigures = ''\nlanguage = ''\nseed = 0\ndata = ''\ncategories = []",
        metadata={"tags": ["parameters"]},
    )
    cells = [parameters, nbformat.v4.new_code_cell(CODE.format(name=name, body=body))]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture
def plan(tmp_path):
    notebooks = tmp_path / "nbs"
    notebooks.mkdir()
    for name in READS:
        toy(notebooks, name)
    return Plan(notebooks, tmp_path / "run", tmp_path / "figures", reads=READS, overrides={})


def log(plan):
    return (plan.run / "log").read_text().split()


def test_kill_in_the_middle_and_go_on(plan):
    toy(plan.notebooks, "01_slow", "time.sleep(60)")
    code = (
        "from mvtec_xai.tools.phases import *; from mvtec_xai.tools.reproduce import *; from pathlib import Path; "
        f"reproduce(Plan(Path({str(plan.notebooks)!r}), Path({str(plan.run)!r}), Path({str(plan.figures)!r}), reads={READS!r}, overrides={{}}))"  # noqa: E501
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 120
    while time.time() < deadline and not ((plan.run / "log").exists() and "01_slow" in log(plan)):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    manifest = json.loads((plan.run / "manifest.json").read_text())
    assert list(manifest["phases"]) == ["00_data"]

    toy(plan.notebooks, "01_slow")
    reproduce(plan)  # the dead process' lock does not stand in the way
    assert log(plan) == ["00_data", "01_slow", "01_slow", "02_last"]


def test_failure_stops_and_the_rest_goes_on_later(plan):
    toy(plan.notebooks, "01_slow", "raise RuntimeError('out of glue')")
    with pytest.raises(PhaseError, match="out of glue") as failure:
        reproduce(plan)
    assert str(plan.run / "notebooks" / "01_slow.ipynb") in str(failure.value)
    assert log(plan) == ["00_data", "01_slow"]
    toy(plan.notebooks, "01_slow")
    manifest = reproduce(plan)
    assert log(plan) == ["00_data", "01_slow", "01_slow", "02_last"]
    assert "02_last" in summary(plan, manifest)


def test_changed_source_runs_again_with_all_that_reads_it(plan):
    reproduce(plan)
    toy(plan.notebooks, "01_slow", "x = 1")
    reproduce(plan)
    assert log(plan) == ["00_data", "01_slow", "02_last", "01_slow", "02_last"]


def test_only_force_and_missing_inputs(plan):
    with pytest.raises(FileNotFoundError, match="--only 00"):
        reproduce(plan, only="01")
    reproduce(plan, only="00")
    reproduce(plan, only="00")
    reproduce(plan, only="00", force=True)
    assert log(plan) == ["00_data", "00_data"]
    assert list(reproduce(plan)["phases"]) == list(READS)
    assert list(reproduce(plan, only="01", force=True)["phases"]) == ["00_data", "01_slow"]  # 02 reads it


def test_a_kernel_that_is_killed_is_told_with_its_phase(plan):
    toy(plan.notebooks, "01_slow", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(PhaseError, match="phase 01_slow failed: its process was killed"):
        reproduce(plan)


def test_a_notebook_that_is_put_beside_the_others_is_a_phase(plan):
    reproduce(plan)
    toy(plan.notebooks, "19_example", "before = (Path(run) / \"02_last\" / 'value').read_text()")
    grown = Plan(plan.notebooks, plan.run, plan.figures, overrides={})
    assert list(grown.reads) == [*READS, "19_example"] and grown.reads["19_example"] == ("02_last",)
    manifest = reproduce(grown, only="19")
    assert log(plan) == [*READS, "19_example"] and "19_example" in summary(grown, manifest)
    (plan.notebooks / "19_example.ipynb").unlink()
    assert list(Plan(plan.notebooks, plan.run, plan.figures, overrides={}).reads) == list(READS)


def test_a_run_that_is_moved_is_not_done_again(plan, tmp_path):
    figures = plan.run / "figures"
    reproduce(Plan(plan.notebooks, plan.run, figures, reads=READS, overrides={}))
    moved = plan.run.rename(tmp_path / "moved")
    reproduce(Plan(plan.notebooks, moved, moved / "figures", reads=READS, overrides={}))
    assert (moved / "log").read_text().split() == list(READS)


def test_a_run_on_drawn_parts_that_is_moved_finds_its_pictures_no_more(tmp_path):
    run = tmp_path / "run"
    write_json(run / "00_data" / "config.json", {"root": str(run / "sample")})
    (tmp_path / "link").symlink_to(run)
    assert not _drawn_elsewhere(run) and not _drawn_elsewhere(tmp_path / "link")
    assert _drawn_elsewhere(run.rename(tmp_path / "moved"))


def test_changed_data_is_noticed(plan, tmp_path):
    plan.data, good = str(tmp_path / "images"), tmp_path / "images" / "bottle" / "train" / "good"
    good.mkdir(parents=True)
    (good / "1.png").write_text("a")
    reproduce(plan, only="00")
    reproduce(plan, only="00")
    (good / "1.png").write_text("ab")
    reproduce(plan, only="00")
    assert log(plan) == ["00_data", "00_data"]
    (tmp_path / "images" / "categories.yaml").write_text("bottle: {}")
    plan.categories = ["bottle"]
    reproduce(plan, only="00")
    assert log(plan) == ["00_data"] * 3


def test_two_at_once_are_refused(plan):
    with locked(plan.run, "reproducing into"), pytest.raises(RuntimeError, match="is reproducing into it"):
        reproduce(plan)
    (plan.run / "lock").write_text("process 1 on another machine")  # left behind: in nobody's way
    assert set(reproduce(plan)["phases"]) == set(READS)


@pytest.mark.parametrize(
    ("file", "phase"),
    [("atlas.html", "05_atlas"), ("categories.yaml", "00_data"), ("descriptions.csv", "13_semantic")],
)
def test_a_file_that_changes_is_a_changed_source_of_its_phase(tmp_path, monkeypatch, file, phase):
    package = shutil.copytree(Path(mvtec_xai.__file__).parent, tmp_path / "mvtec_xai")
    monkeypatch.setattr(mvtec_xai, "__file__", str(package / "__init__.py"))
    phases = [ROOT / "nbs" / f"{name}.ipynb" for name in ("blocks/metrics", phase)]
    before = [source_digest(code_of(phase)) for phase in phases]
    (package / file).write_text("something else")
    assert [source_digest(code_of(phase)) == old for phase, old in zip(phases, before, strict=True)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(("extra", "learned"), [(["open_clip"], True), ([], False)], ids=["missing", "there"])
def test_report_and_what_has_no_study_come_after_the_last_phase_that_can_run(
    plan, monkeypatch, extra, learned
):
    monkeypatch.setattr(unstudied, "set_aside", lambda plan: {"nut": "no defect"})
    monkeypatch.setattr(unstudied, "learn_unstudied", lambda plan, lacking: done.append(lacking))
    monkeypatch.setattr(cli, "_report_of", lambda plan: done.append("report"))
    monkeypatch.setattr(phases, "lacking_packages", lambda phase: extra if phase == "02_last" else [])
    done = []
    cli._reproduce(plan, "00", None, False, report=True)
    assert not done
    cli._reproduce(plan, "01", None, False, report=True)
    assert done == ([{"nut": "no defect"}, "report"] if learned else [])

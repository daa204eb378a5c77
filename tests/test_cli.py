"""The command line as a user meets it."""

import subprocess
import sys

import pytest
from conftest import ROOT

PICTURE = ROOT / "figures" / "inspection_example.png"


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; import mvtec_xai.tools.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_inference_imports_no_library_of_the_study():
    study = (
        "sklearn",
        "lightning",
        "seaborn",
        "pytorch_metric_learning",
        "pytorch_grad_cam",
        "umap",
        "babel",
    )
    code = f"import sys; from mvtec_xai import InspectionPipeline; print([m for m in {study} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words, says",
    [
        (("reproduce", "--profile", "full"), "data download"),
        (("reproduce", "--profile", "fast"), "sample, full"),
        (("reproduce", "--data", "nowhere"), "nowhere"),
        (("reproduce", "--only", "99", "--run", "{tmp}/run"), "no phase"),
        (("data", "check", "nowhere"), "no such folder"),
        (("data", "download", "{tmp}/new", "--archive", "{tmp}/gone.tar.xz"), "no such archive"),
        (("reproduce", "--language", "fr"), "en, es"),
        (("report", "--figures", "nowhere"), "no such folder of figures"),
        (("report", "--run", "nowhere"), "no such folder of figures"),
        (("report", "--date", "yesterday"), "--date yesterday"),
        (("report", "--out", "/proc/memoria.pdf", "--figures", "{tmp}"), "--out"),
        (("inspect", "nowhere", "--run", "{tmp}", "--out", "{tmp}/out"), "no such file"),
        (("inspect", PICTURE, "--run", "{tmp}", "--out", "{tmp}/out", "--language", "fr"), "en, es"),
        (("inspect", PICTURE, "--run", "{tmp}", "--out", "{tmp}/out", "--device", "gpu"), "cpu and cuda"),
        (("inspect", PICTURE, "--run", "{tmp}", "--out", "{tmp}/out", "--device", "cuda:77"), "finds none"),
        (("app", "--run", "{tmp}"), "06_pipeline has not finished"),
        (("app", "--run", "{tmp}", "--language", "fr"), "en, es"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(program, tmp_path, words, says):
    done = program(*(str(w).format(tmp=tmp_path) for w in words))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1

"""What several tests use: the repository, the installed program, real images where they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    "MVTec AD: where MVTEC_AD_ROOT says, else beside the repository."
    path = Path(os.environ.get("MVTEC_AD_ROOT", ROOT.parent / "shared" / "mvtec_ad"))
    if not path.is_dir():
        pytest.skip(f"no MVTec AD at {path}; set MVTEC_AD_ROOT")
    return path


@pytest.fixture(scope="session")
def program():
    "The installed command line: program('data', 'check', ...) gives the finished process."

    def call(*words, **options) -> subprocess.CompletedProcess:
        return subprocess.run([Path(sys.executable).with_name("mvtec-xai"), *map(str, words)], capture_output=True, text=True, **options)

    return call

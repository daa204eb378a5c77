"""Packaging, driven by settings.ini: the one place where names, versions and requirements stand."""

import json
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
EXTRAS = ("study", "app", "report", "semantic", "export", "cluster", "s3")
extras = {name: cfg[f"{name}_requirements"].split() for name in (*EXTRAS, "dev", "reference")}


def without_outputs(notebook: Path) -> str:
    "The text of a notebook, its outputs left out."
    nb = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(nb, indent=1, ensure_ascii=False)


class WithNotebooks(build_py):
    "Put what `reproduce` and `report` need of the repository into the package; `find_repository` finds it there."

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the repository itself is there
            return
        project = Path(self.build_lib) / cfg["lib_name"] / "project"
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(here / "report", project / "report")
        shutil.copy(here / "settings.ini", project)
        (project / "nbs").mkdir()
        for notebook in (here / "nbs").glob("[0-9][0-9]_*.ipynb"):
            (project / "nbs" / notebook.name).write_text(without_outputs(notebook), encoding="utf-8")


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    packages=find_packages(include=["mvtec_xai", "mvtec_xai.*"]),
    package_data={
        "mvtec_xai": ["*.html", "*.yaml", "*.csv", "*.npz", "locale/*/LC_MESSAGES/*.po"],
        "mvtec_xai.tools": ["*.html", "*.css", "*.js"],
    },
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras
    | {
        "dev": extras["dev"] + [r for name in EXTRAS for r in extras[name]],
        "reference": extras["reference"] + extras["study"],
    },
    cmdclass={"build_py": WithNotebooks},
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
)

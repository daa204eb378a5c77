"""Packaging, driven by settings.ini: the one place where names, versions and requirements stand."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]

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
    package_data={"mvtec_xai": ["*.html", "*.yaml", "*.csv", "*.npz"], "mvtec_xai.tools": ["*.html", "*.css", "*.js"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require={
        "export": cfg["export_requirements"].split(),
        "semantic": cfg["semantic_requirements"].split(),
        "dev": [
            requirement
            for extra in ("dev", "export", "semantic")
            for requirement in cfg[f"{extra}_requirements"].split()
        ],
        "reference": cfg["reference_requirements"].split(),
    },
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
)

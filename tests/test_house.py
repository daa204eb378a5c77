"""The rules of the house: what is exported, what is clean, who imports whom."""

import ast
import base64
import importlib
import re
import subprocess
from configparser import ConfigParser
from importlib.util import find_spec

import nbformat
import pytest
from conftest import ROOT
from nbdev.clean import clean_nb
from nbdev.config import get_config

from mvtec_xai.blocks.digests import local_imports
from mvtec_xai.tools.phases import find_phases

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
PHASES = [p for p in NOTEBOOKS if re.match(r"\d\d_", p.name)]
MODULES = sorted(p for p in (ROOT / "mvtec_xai").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))
ORDER = [  # who may import whom: what comes earlier, never what comes later
    *("blocks", "sample", "data", "classifier", "category", "gradcam", "explanation_study", "faithfulness"),
    *("autoencoder", "good_parts", "patch_maps", "contrastive", "known_types", "type_study", "new_types"),
    *("ways", "learning", "atlas", "segmentation", "segmentation_study", "segmentation_scores"),
    *("generative", "adversarial", "differences", "generative_scores", "search", "looks", "semantic"),
    *("semantic_study", "search_measures", "unseen_words", "inspection", "stages", "segment_stage"),
    *("expect_stage",),
    *("describing", "searching", "stored", "told", "lessons", "workshop", "add_type", "pipeline", "left_out"),
    *("generalisation", "tools", "__main__"),
]


def name_of(module) -> str:
    return module.relative_to(ROOT / "mvtec_xai").with_suffix("").as_posix().replace("/", ".")


def rank(name: str) -> int:
    return ORDER.index(name.split(".")[0])


def ids(paths):
    return [p.stem for p in paths]


def test_phases_are_found_with_what_they_read():
    everything = ("00_data", "01_classifier", "02_gradcam", "03_autoencoder", "04_contrastive")
    assert find_phases(ROOT / "nbs") == {
        "00_data": (),
        "01_classifier": everything[:1],
        "02_gradcam": everything[:2],
        "03_autoencoder": everything[:2],
        "04_contrastive": everything[:3],
        "05_atlas": (*everything[:3], "04_contrastive"),
        "06_pipeline": everything,
        "10_category": (*everything[:2], "06_pipeline"),
        "11_segmentation": (*everything[:4], "06_pipeline"),
        "12_generative": (*everything[:2], "03_autoencoder", "06_pipeline"),
        "13_semantic": (*everything[:3], "04_contrastive"),
        "14_generalisation": (*everything[:4], "12_generative"),
    }


@pytest.mark.parametrize("notebook", PHASES, ids=ids(PHASES))
def test_one_parameters_cell_of_plain_literals(notebook):
    cells = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    for statement in ast.parse(cells[0].source).body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)
    assert {"run", "figures", "language", "seed"} <= {
        t.id for s in ast.parse(cells[0].source).body for t in s.targets
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_notebook_is_clean(notebook):
    nb = nbformat.read(notebook, 4)
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    before = nbformat.writes(nb)
    clean_nb(nb, allowed_cell_metadata_keys=get_config().allowed_cell_metadata_keys.split())
    assert nbformat.writes(nb) == before, "run nbdev_clean"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_a_cell_imports_or_does_something(notebook):
    "The site is built by executing cells that import; one that does more as well fails there."
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type == "code":
            imports = [
                isinstance(s, ast.Import | ast.ImportFrom)
                for s in ast.parse(re.sub(r"^[%!].*", "", cell.source, flags=re.M)).body
            ]
            assert all(imports) or not any(imports), cell.source


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_notebook_explains_itself(notebook):
    cells = nbformat.read(notebook, 4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ") and "\n> " in cells[0].source
    least = 0.35 if notebook in PHASES else 0.25
    assert sum(c.cell_type == "markdown" for c in cells) >= least * len(cells)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_cells_are_small(notebook):
    lengths = [len(c.source.splitlines()) for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]
    assert max(lengths, default=0) <= 30


@pytest.mark.parametrize("module", MODULES, ids=[name_of(m) for m in MODULES])
def test_modules_are_small(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_front_page_shows_the_figure_as_it_is():
    outputs = [
        o
        for c in nbformat.read(ROOT / "nbs" / "index.ipynb", 4).cells
        if c.cell_type == "code"
        for o in c.outputs
    ]
    (shown,) = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert base64.b64decode(shown) == (ROOT / "figures" / "inspection_example.png").read_bytes(), (
        "execute index.ipynb"
    )


@pytest.mark.parametrize("module", MODULES, ids=[name_of(m) for m in MODULES])
def test_imports_run_one_way(module):
    name = name_of(module)
    for other in local_imports(module.read_text(encoding="utf-8"), name):
        together = name.split(".")[0] == other.split(".")[0]  # within blocks, sample or tools
        assert together or rank(other) < rank(name), f"{name} imports {other}"


def test_every_module_comes_from_a_notebook():
    exported = {
        m.group(1).replace(".", "/")
        for n in NOTEBOOKS
        for c in nbformat.read(n, 4).cells
        if (m := re.match(r"#\| default_exp (\S+)", c.source))
    }
    assert exported == {name_of(m).replace(".", "/") for m in MODULES}


def test_settings_that_keep_parameters_and_what_is_folded():
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini")
    assert settings["DEFAULT"]["allowed_cell_metadata_keys"].split() == ["tags", "jupyter"]
    assert settings["DEFAULT"]["update_pyproject"] == "False"


def test_phases_begin_with_their_story():
    "In JupyterLab, where cells that set up are folded."
    for name in find_phases(ROOT / "nbs"):
        cells = nbformat.read(ROOT / "nbs" / f"{name}.ipynb", 4).cells
        sets_up = [
            c
            for c in cells
            if c.source.startswith("#| default_exp") or "parameters" in c.metadata.get("tags", [])
        ]
        assert len(sets_up) == 2
        assert all(c.metadata.get("jupyter", {}).get("source_hidden") for c in sets_up), name


def test_nothing_of_this_machine_is_tracked():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if (
            path.suffix in (".png", ".webp", ".pdf", ".npz")
            or not path.is_file()
            or name.startswith("tests/")
        ):
            continue
        found = re.search(r"(?<![\w.])/(?:work|root|home|tmp)/[\w.-]+", path.read_text(encoding="utf-8"))
        assert not found, f"{name}: {found.group(0)}"
    assert not [
        n for n in tracked if n.startswith("runs/") or n.endswith((".safetensors", ".parquet", ".npy"))
    ]


@pytest.mark.parametrize("module", MODULES, ids=[name_of(m) for m in MODULES])
def test_what_functions_import_is_there(module):
    "Imports inside a function are found out when it is called, which may be late."
    package = "mvtec_xai." + ".".join(name_of(module).split(".")[:-1])
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        inner = isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").startswith("mvtec_xai")
        )
        if inner and node.module:
            place = "." * node.level + node.module
            other = importlib.import_module(place, package.rstrip("."))
            missing = [a.name for a in node.names if not (hasattr(other, a.name) or is_module(other, a.name))]
            assert not missing, f"{module}: {place} has no {missing}"


def is_module(package, name):
    "Is `name` a module of `package`, which nobody may have imported yet?"
    return hasattr(package, "__path__") and find_spec(f"{package.__name__}.{name}") is not None

"""The READMEs tell what the tables say: `python tests/test_readme.py` writes the results into them, the test compares.

The full tables, with intervals and other methods, are made by nbs/results.ipynb; a test runs it and compares.
"""

import re
import textwrap
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from PIL import Image

from mvtec_xai.sample.dataset import make_sample

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "figures" / "mvtec_ad" / "tables"
PLACE = re.compile(r"<!-- results -->.*?(?=\n## )", re.DOTALL)
WIDTH = 115  # of a line of prose
TEXTS = {
    "README.md": {
        "intro": (
            "Measured on the development part of MVTec AD (512 px JPEG, three quarters of every test type, fewer of cable and "
            "zipper; zipper has no masks there, and about one in seven of its defects may be called by a wrong type), on the "
            "test folder only, out-of-fold ({folds} folds, seed {seed}, `tf_efficientnet_lite0` at {size} px), by the "
            "`reproduce` above. Heads learn from good parts, labels, masks and types of the other folds. These are "
            "development figures: some choices of the design were made in sight of figures of the same kind ([all of "
            "them](nbs/choices.ipynb))."
        ),
        "head": (
            "| category | missed defects | false alarms | to a person | image AUROC | AUPRO of the heatmap | type named |"
        ),
        "mean": "all",
        "of": "{} of {}",
        "more": (
            "In the last row counts are sums and measures are means. On the same images anomalib's PatchCore, which learns "
            "from good parts alone, reaches an image AUROC of {patchcore_auroc} and an AUPRO of {patchcore_aupro}. Heads of this "
            "project that are shown no masks reach an AUPRO of {unmasked_aupro}. On two "
            "cores without a GPU `inspect` takes {good_ms} ms for a good part and {bad_ms} ms for a defective one. "
            "From {parts} good parts of a category and no defect the image AUROC is {few_auroc}, and {few_found} of "
            "{few_defects} defects lie above the limit. "
            "[Results on real images](nbs/results.ipynb) has intervals, other methods, what the heatmaps are worth, what the "
            "choices of the detector are worth, and times."
        ),
    },
    "README.es.md": {
        "intro": (
            "Medido en la parte de desarrollo de MVTec AD (JPEG de 512 px, tres cuartos de cada tipo de prueba, menos de "
            "cable y zipper; zipper no tiene máscaras en ella, y el tipo de uno de cada siete de sus defectos es dudoso), "
            "solo con la carpeta de prueba, con validación cruzada ({folds} particiones, semilla {seed}, "
            "`tf_efficientnet_lite0` a {size} px), con la orden `reproduce` de arriba. Las cabezas aprenden de piezas buenas, "
            "etiquetas, máscaras y tipos de las demás particiones. Son cifras de desarrollo: algunas decisiones de diseño se "
            "tomaron con cifras de la misma clase a la vista ([todas ellas](nbs/choices.ipynb), en inglés)."
        ),
        "head": (
            "| categoría | defectos no detectados | falsas alarmas | a una persona | AUROC de imagen | AUPRO del mapa "
            "| tipo acertado |"
        ),
        "mean": "todas",
        "of": "{} de {}",
        "more": (
            "En la última fila los recuentos son sumas y las medidas, medias. Con las mismas imágenes, PatchCore de anomalib, "
            "que aprende solo de piezas buenas, alcanza un AUROC de imagen de {patchcore_auroc} y un AUPRO de "
            "{patchcore_aupro}. Las cabezas de este proyecto, sin ver máscaras, alcanzan un AUPRO de {unmasked_aupro}. Con dos "
            "núcleos y sin GPU, `inspect` tarda {good_ms} ms con una pieza buena y {bad_ms} ms con una defectuosa. Con {parts} "
            "piezas buenas de una categoría y ningún defecto, el AUROC de imagen es {few_auroc}, y {few_found} de {few_defects} "
            "defectos pasan el límite. En "
            "[Results on real images](nbs/results.ipynb), en inglés, están los intervalos, otros métodos, lo que valen los "
            "mapas y las decisiones del detector, y los tiempos."
        ),
    },
}


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / f"{name}.csv").set_index("category")


def number(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.3f}"


def tested() -> dict[str, tuple[int, int]]:
    "Good and defective images of each category's test folder, and of all, as `mean`."
    counts = pd.read_csv(TABLES / "data_counts.csv").query("folder == 'test'")
    images = counts.assign(bad=counts.defect != "good").groupby(["category", "bad"]).images.sum()
    each = {c: (images[c, False], images[c, True]) for c in images.index.levels[0]}
    return each | {"mean": tuple(map(sum, zip(*each.values(), strict=True)))}


def own_rows(mean: str, of: str) -> list[str]:
    "A line for each category, and one for all, called `mean`."
    chains, where = table("end_to_end"), table("localisation")
    types = table("types").query("region == 'heatmap' and method == 'supcon'")
    rows = []
    for category, (good, bad) in tested().items():
        chain = chains.loc[category]
        cells = [
            mean if category == "mean" else category,
            of.format(f"{chain.missed:.0f}", bad),
            of.format(f"{chain.false_alarms:.0f}", good),
            of.format(f"{chain.reviews:.0f}", good + bad),
            number(table("detection").image_auroc[category]),
            number(where.aupro.get(category)),
            number(types.accuracy[category]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def measured() -> dict[str, str]:
    "What the text says beside the table."
    patchcore = (
        pd.read_csv(TABLES / "reference.csv").query("category == 'mean' and method == 'patchcore'").iloc[0]
    )
    unmasked = (
        pd.read_csv(TABLES / "explanations.csv").query("category == 'mean' and heads == 'labels'").iloc[0]
    )
    speed = pd.read_csv(TABLES / "inspect_speed.csv").set_index("work").ms_per_image
    about = pd.read_json(TABLES / "about.json", typ="series")
    of_few = "parts == '32' and category == 'mean' and score == 'logit'"
    few = pd.read_csv(TABLES / "few_good_parts.csv").query(of_few).iloc[0]
    promises = pd.read_csv(TABLES / "good_parts_promises.csv").query("parts == '32'")
    return {
        "parts": few.parts,
        "few_auroc": number(few.image_auroc),
        "few_found": str(promises.found.sum()),
        "few_defects": str(promises.defects.sum()),
        "folds": str(about.folds),
        "seed": str(about.seed),
        "size": str(about.image_size),
        "patchcore_auroc": number(patchcore.image_auroc),
        "patchcore_aupro": number(patchcore.aupro),
        "unmasked_aupro": number(unmasked.aupro),
        "good_ms": f"{speed['normal, with writing']:.0f}",
        "bad_ms": f"{speed['defective, with writing']:.0f}",
    }


def wrap(text: str) -> str:
    "Break `text` into lines, but neither in code nor in a link."
    whole = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", lambda found: found[0].replace(" ", "\0"), text)
    return textwrap.fill(whole, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def results(name: str) -> str:
    "The results section of the README `name`, from the tables."
    text, values, rows = TEXTS[name], measured(), own_rows(TEXTS[name]["mean"], TEXTS[name]["of"])
    if name.endswith(".es.md"):
        values = {key: value.replace(".", ",") for key, value in values.items()}
        rows = [re.sub(r"(?<=\d)\.(?=\d)", ",", row) for row in rows]
    wrapped = {key: wrap(text[key].format(**values)) for key in ("intro", "more")}
    rule = "|---" * (text["head"].count("|") - 1) + "|"
    return "\n".join(
        ["<!-- results -->", wrapped["intro"], "", text["head"], rule, *rows, "", wrapped["more"], ""]
    )


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_tables(name):
    assert PLACE.search((ROOT / name).read_text(encoding="utf-8")).group(0) == results(name)


@pytest.mark.parametrize("name", TEXTS)
def test_the_first_figures_are_those_of_the_table(name):
    first, of = (ROOT / name).read_text(encoding="utf-8").split("```sh")[0], TEXTS[name]["of"]
    chain, (good, bad) = table("end_to_end").loc["mean"], tested()["mean"]
    for count, every in ((chain.missed, bad), (chain.false_alarms, good), (chain.reviews, good + bad)):
        assert of.format(f"{count:.0f}", every) in first


def test_the_results_page_shows_the_tables_as_they_are():
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell

    path, shell = ROOT / "nbs" / "results.ipynb", CaptureShell()
    cells = read_nb(path).cells
    for cell, kept in zip(cells, nbformat.read(path, 4).cells, strict=True):
        if cell.cell_type == "code":
            made = [o["data"] for o in shell.run(cell.source) if o["output_type"] == "execute_result"]
            assert not shell.exc, shell.exc
            for mime in ("text/html", "text/markdown"):
                said = ["".join(data.get(mime, "")) for data in made]
                assert said == [o.data.get(mime, "") for o in kept.outputs], (
                    f"execute results.ipynb: {cell.source}"
                )


def test_where_the_second_opinion_is_on_is_as_in_the_table():
    weights = table("verification").deployed_weight
    (only,) = weights.index[weights > 0]
    said = {"README.md": f"it is on for {only} alone", "README.es.md": f"solo está activa en *{only}*"}
    said["nbs/index.ipynb"] = f"it is on for {only} alone"
    for name, text in said.items():
        assert text in " ".join((ROOT / name).read_text(encoding="utf-8").split()), name


@pytest.mark.parametrize("name", TEXTS)
def test_pictures_have_a_text_and_are_small(name):
    shown = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert shown
    for said, path in shown:
        assert len(said) > 40 and (ROOT / path).stat().st_size <= 150_000
        assert Image.open(ROOT / path).width >= 1000


def test_both_say_the_same_in_as_many_parts():
    parts = {
        name: re.sub(r"(?m)^[^#|`!-].*$", "", (ROOT / name).read_text(encoding="utf-8")) for name in TEXTS
    }
    marks = [re.findall(r"(?m)^(#+ |\||```\w*|!|- )", text) for text in parts.values()]
    assert marks[0] == marks[1]
    options = [
        re.findall(r"--[a-z][a-z-]+", (ROOT / name).read_text(encoding="utf-8").replace("--language es", ""))
        for name in TEXTS
    ]
    assert options[0] == options[1]


@pytest.mark.parametrize("name", TEXTS)
def test_images_of_the_examples_are_drawn(name, tmp_path):
    shown = set(re.findall(r"runs/sample/sample/([\w/]+\.png)", (ROOT / name).read_text(encoding="utf-8")))
    assert shown
    categories = sorted({path.split("/")[0] for path in shown})
    make_sample(tmp_path, train=1, good=1, per_type=1, size=32, categories=categories)
    assert [path for path in shown if not (tmp_path / path).is_file()] == []


if __name__ == "__main__":
    for name in TEXTS:
        path = ROOT / name
        path.write_text(
            PLACE.sub(lambda _: results(name), path.read_text(encoding="utf-8")), encoding="utf-8"
        )

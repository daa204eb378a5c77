"""The READMEs tell what the tables say: `python tests/test_readme.py` writes the results into them, the test compares."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "figures" / "mvtec_ad" / "tables"
PLACE = re.compile(r"<!-- results -->.*?(?=\n## )", re.DOTALL)
TEXTS = {
    "README.md": (
        "Measured on the development part of MVTec AD (512 px JPEG, three quarters of every test type; {names}), test folder only, "
        "out-of-fold ({folds} folds, seed 0, `tf_efficientnet_lite0` at {size} px), by the commands above with `--categories {names}`. "
        "In brackets the 95 % bootstrap interval; *blob* is a centred Gaussian instead of a heatmap. These are a first draft's figures: "
        "PatchCore reaches a mean image AUROC of .989 on the seven categories of the whole data set. On the drawn sample data the short "
        "fine-tuning of `make run` is not better than chance (mean image AUROC {sample:.2f}, a linear probe on frozen features "
        "{probe:.2f}), so most of its verdicts are `review`: the sample shows how the parts work together, not what they are worth.",
        "| category | test images | image AUROC | F1 | calibration error | pixel AUROC (blob) | pointing game (blob) | type accuracy |",
    ),
    "README.es.md": (
        "Medido en la parte de desarrollo de MVTec AD (JPEG de 512 px, tres cuartos de cada tipo de prueba; {names}), solo carpeta de "
        "prueba, con validación cruzada ({folds} particiones, semilla 0, `tf_efficientnet_lite0` a {size} px), con las órdenes de arriba "
        "y `--categories {names}`. Entre corchetes, el intervalo bootstrap del 95 %; *mancha* es una gaussiana centrada en lugar del mapa. "
        "Son las cifras de un primer borrador: PatchCore alcanza un AUROC medio de 0,989 en las siete categorías del conjunto completo. "
        "Con los datos de muestra, el breve ajuste fino de `make run` no supera el azar (AUROC medio {sample:.2f}; una sonda lineal sobre "
        "la red congelada, {probe:.2f}), y casi todo queda en `review`: la muestra enseña cómo encajan las partes, no lo que valen.",
        "| categoría | imágenes | AUROC de imagen | F1 | error de calibración | AUROC de píxel (mancha) | señalamiento (mancha) | acierto del tipo |",  # noqa: E501
    ),
}


def results(name: str) -> str:
    "The results section of the README `name`, from the tables."
    detection, localisation = (pd.read_csv(TABLES / f"{t}.csv").set_index("category") for t in ("detection", "localisation"))
    types = pd.read_csv(TABLES / "types.csv").query("region == 'heatmap' and method == 'supcon'").set_index("category")
    about = pd.read_json(TABLES / "about.json", typ="series")
    lines = []
    for category, d in detection.iterrows():
        place = localisation.loc[category]
        lines.append(
            f"| {category} | {d.images:.0f} | {d.image_auroc:.3f} [{d.auroc_low:.3f}, {d.auroc_high:.3f}] | {d.f1:.3f} | {d.ece:.3f} "
            f"| {place.pixel_auroc_chosen:.3f} ({place.pixel_auroc_gaussian:.3f}) "
            f"| {place.pointing_chosen:.2f} ({place.pointing_gaussian:.2f}) | {types.loc[category].accuracy:.3f} |"
        )
    text, head = TEXTS[name]
    names = ",".join(c for c in detection.index if c != "mean")
    sample = pd.read_csv(ROOT / "figures" / "tables" / "detection.csv").set_index("category").loc["mean"]
    text = text.format(names=names, folds=about.folds, size=about.image_size, sample=sample.image_auroc, probe=sample.probe_auroc)
    return "\n".join(["<!-- results -->", text, "", head, "|---" * 8 + "|", *lines, ""])


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_tables(name):
    assert PLACE.search((ROOT / name).read_text(encoding="utf-8")).group(0) == results(name)


if __name__ == "__main__":
    for name in TEXTS:
        path = ROOT / name
        path.write_text(PLACE.sub(lambda _: results(name), path.read_text(encoding="utf-8")), encoding="utf-8")

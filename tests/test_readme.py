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
        "Measured on the development part of MVTec AD (512 px JPEG, three quarters of every test type), test folder only, out-of-fold "
        "({folds} folds, seed 0, `tf_efficientnet_lite0` at {size} px), by phases 00 and 01 of the `reproduce` above. In brackets the 95 % "
        "bootstrap interval; *probe* is the image AUROC of a linear probe on the same frozen network.",
        "| category | test images | image AUROC | probe | F1 | calibration error | left to a person |",
    ),
    "README.es.md": (
        "Medido en la parte de desarrollo de MVTec AD (JPEG de 512 px, tres cuartos de cada tipo de prueba), solo carpeta de prueba, con "
        "validación cruzada ({folds} particiones, semilla 0, `tf_efficientnet_lite0` a {size} px), con las fases 00 y 01 de la orden "
        "`reproduce` de arriba. Entre corchetes, el intervalo bootstrap del 95 %; *sonda* es el AUROC de imagen de una sonda lineal sobre "
        "la misma red congelada.",
        "| categoría | imágenes | AUROC de imagen | sonda | F1 | error de calibración | queda para una persona |",
    ),
}


def results(name: str) -> str:
    "The results section of the README `name`, from the tables."
    detection = pd.read_csv(TABLES / "detection.csv").set_index("category")
    about = pd.read_json(TABLES / "about.json", typ="series")
    lines = [
        f"| {category} | {d.images:.0f} | {d.image_auroc:.3f} [{d.auroc_low:.3f}, {d.auroc_high:.3f}] | {d.probe_auroc:.3f} "
        f"| {d.f1:.3f} [{d.f1_low:.3f}, {d.f1_high:.3f}] | {d.ece:.3f} | {d.ambiguous:.3f} |"
        for category, d in detection.iterrows()
    ]
    text, head = TEXTS[name]
    return "\n".join(["<!-- results -->", text.format(folds=about.folds, size=about.image_size), "", head, "|---" * 7 + "|", *lines, ""])


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_tables(name):
    assert PLACE.search((ROOT / name).read_text(encoding="utf-8")).group(0) == results(name)


if __name__ == "__main__":
    for name in TEXTS:
        path = ROOT / name
        path.write_text(PLACE.sub(lambda _: results(name), path.read_text(encoding="utf-8")), encoding="utf-8")

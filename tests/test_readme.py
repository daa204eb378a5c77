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
        "({folds} folds, seed 0, `tf_efficientnet_lite0` at {size} px), by the `reproduce` above. In brackets the 95 % bootstrap "
        "interval. The heatmaps are of the method of the Grad-CAM family that validation chose; a centred Gaussian in their place has "
        "pixel AUROC {blob.pixel_auroc:.3f}, AUPRO {blob.aupro:.3f} and points at {blob.pointing:.2f}. On the drawn sample data of "
        "`make run` the mean image AUROC is {sample:.2f}: heads learn for half as long there, from fewer and smaller images.",
        "| category | test images | image AUROC | F1 | calibration error | pixel AUROC | AUPRO | pointing game |",
    ),
    "README.es.md": (
        "Medido en la parte de desarrollo de MVTec AD (JPEG de 512 px, tres cuartos de cada tipo de prueba), solo carpeta de prueba, con "
        "validación cruzada ({folds} particiones, semilla 0, `tf_efficientnet_lite0` a {size} px), con la orden `reproduce` de arriba. "
        "Entre corchetes, el intervalo bootstrap del 95 %. Los mapas son del método de la familia Grad-CAM que eligió la validación; "
        "una gaussiana centrada en su lugar tiene AUROC de píxel {blob.pixel_auroc:.3f}, AUPRO {blob.aupro:.3f} y señala bien en "
        "{blob.pointing:.2f}. Con los datos de muestra de `make run` el AUROC medio de imagen es {sample:.2f}: allí se aprende la mitad "
        "de tiempo y de menos imágenes, más pequeñas.",
        "| categoría | imágenes | AUROC de imagen | F1 | error de calibración | AUROC de píxel | AUPRO | señalamiento |",
    ),
}


def results(name: str) -> str:
    "The results section of the README `name`, from the tables."
    detection, localisation = (pd.read_csv(TABLES / f"{t}.csv").set_index("category") for t in ("detection", "localisation"))
    about = pd.read_json(TABLES / "about.json", typ="series")
    lines = []
    for category, d in detection.iterrows():
        where = "– | – | –"  # no masks
        if category in localisation.index:
            place = localisation.loc[category]
            pixel = f"{place.pixel_auroc:.3f} [{place.pixel_auroc_low:.3f}, {place.pixel_auroc_high:.3f}]"
            where = f"{pixel} | {place.aupro:.3f} [{place.aupro_low:.3f}, {place.aupro_high:.3f}] | {place.pointing:.2f}"
        lines.append(
            f"| {category} | {d.images:.0f} | {d.image_auroc:.3f} [{d.auroc_low:.3f}, {d.auroc_high:.3f}] "
            f"| {d.f1:.3f} [{d.f1_low:.3f}, {d.f1_high:.3f}] | {d.ece:.3f} | {where} |"
        )
    text, head = TEXTS[name]
    blob = pd.read_csv(TABLES / "localisation_methods.csv").set_index("method").loc["gaussian"]
    sample = pd.read_csv(ROOT / "figures" / "tables" / "detection.csv").set_index("category").image_auroc["mean"]
    text = text.format(folds=about.folds, size=about.image_size, blob=blob, sample=sample)
    return "\n".join(["<!-- results -->", text, "", head, "|---" * 8 + "|", *lines, ""])


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_tables(name):
    assert PLACE.search((ROOT / name).read_text(encoding="utf-8")).group(0) == results(name)


if __name__ == "__main__":
    for name in TEXTS:
        path = ROOT / name
        path.write_text(PLACE.sub(lambda _: results(name), path.read_text(encoding="utf-8")), encoding="utf-8")

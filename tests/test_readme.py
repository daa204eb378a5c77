"""The READMEs tell what the tables say: `python tests/test_readme.py` writes the results into them, the test compares."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mvtec_xai.sample.dataset import make_sample

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "figures" / "mvtec_ad" / "tables"
PLACE = re.compile(r"<!-- results -->.*?(?=\n## )", re.DOTALL)
TEXTS = {
    "README.md": {
        "intro": (
            "Measured on the development part of MVTec AD (512 px JPEG, three quarters of every test type; zipper has no "
            "masks there), test folder only, out-of-fold ({folds} folds, seed 0, `tf_efficientnet_lite0` at {size} px), by "
            "the `reproduce` above. These are development figures: some choices of the design were made in sight of figures of the "
            "same kind ([all of them](nbs/choices.ipynb)). Heads learn from good parts, labels, masks and types of the other folds. "
            "In brackets the 95 % bootstrap interval. *Type* is the share of defects that get the name of their type, the region taken "
            "from the heatmap. *Missed* are defects that the whole pipeline calls normal, *false alarms* good parts that it calls "
            "anomalous, *to a person* the images that it leaves undecided."
        ),
        "head": (
            "| category | missed | false alarms | to a person | image AUROC | F1 | calibration error | pixel AUROC | AUPRO "
            "| pointing game | type |"
        ),
        "mean": "mean",
        "others": (
            "The same measures, means of the categories, beside others. *Same images*: run here, on the same images; "
            "those of anomalib and the linear probe with the weights of the first row, anomalib's at 256 px; *published*: from the "
            "authors, on the whole test set."
        ),
        "others_head": "| method | learned from | measured on | image AUROC | pixel AUROC | AUPRO |",
        "learned": {
            "good": "good parts",
            "labels": "good parts, labels",
            "masks": "good parts, labels, masks",
        },
        "of": "{} of {}",
        "names": {
            "ours": "this project, `{}` at {} px",
            "earlier": "the same, an earlier version, `{}` at {} px",
            "probe": "linear probe on the frozen network",
            "same": "same images",
            "published": "published",
        },
        "explained": (
            "What is a heatmap worth, and what did it learn from? Means of the categories with masks, out-of-fold on the same images, "
            "with 95 % bootstrap intervals (`benchmarks/explanations.py` and `finetuned.py`). The first row is scored on what it was "
            "trained for; in the others no network has seen a mask. The fine-tuned network is EfficientNet-Lite0 at 320 px, one a fold "
            "for all categories; ordinary Grad-CAM makes every map reach from 0 to 1, good parts' maps too. Those of anomalib are "
            "distances to good parts, which no label has touched. The heads are of a second run of the same seed, on another machine."
        ),
        "explained_head": "| map | learned from | image AUROC | pixel AUROC | AUPRO | pointing game |",
        "maps": {
            "masks": "heads of this project",
            "labels": "the same heads, shown no mask",
            "gradcam": "fine-tuned network, ordinary Grad-CAM at the last stage",
            "gradcam, unscaled": "the same, maps keep their values",
            "layercam, fused": "the same network, LayerCAM of three depths fused",
        },
        "choices": (
            "What the choices of the detector are worth: one of them changed at a time, mean image AUROC of {categories} "
            "(`benchmarks/choices.py`; each category is in `figures/mvtec_ad/tables/choices.csv`). *Validation*, training "
            "images that a head did not learn from, is what one may choose by; *out-of-fold* says what it came to. (Measured with an "
            "earlier version, whose heads were stopped early, each on a validation part of its own.)"
        ),
        "choices_head": "| | validation | out-of-fold |",
        "changes": {
            "as it is": "as it is",
            "no masks": "without the masks",
            "no memory": "without the memory of good parts",
            "no views": "without altered views",
            "one for all": "the same heads for all categories",
        },
        "speed": (
            "How long an image takes on two cores without a GPU, beside a bare forward pass of the backbone at the same size in the "
            "same run (`benchmarks/inspect_speed.py` and `reference_speed.py`, images of one category). `inspect` reads files and "
            "writes rows, thumbnails and the gallery; the others get images that are in memory, in batches of 16. Of {most} "
            "good parts in one call the first tenth took {first_tenth_ms} ms an image and the last {last_tenth_ms}; memory peaked at "
            "{peak_mb} MB, with {fewest} parts at {least_mb} MB. Milliseconds of different runs do not compare, since the machine's "
            "own speed changes; ratios do."
        ),
        "speed_head": "| | px | milliseconds an image | times the bare pass |",
        "works": {
            "normal": "`inspect`, good part",
            "defective": "`inspect`, defective part",
            "detector": "its detector alone",
            "patchcore": "PatchCore, anomalib",
            "padim": "PaDiM, anomalib",
        },
    },
    "README.es.md": {
        "intro": (
            "Medido en la parte de desarrollo de MVTec AD (JPEG de 512 px, tres cuartos de cada tipo de prueba; zipper no "
            "tiene máscaras en ella), solo carpeta de prueba, con validación cruzada ({folds} particiones, semilla 0, "
            "`tf_efficientnet_lite0` a {size} px), con la orden `reproduce` de arriba. Son cifras de desarrollo: algunas decisiones de "
            "diseño se tomaron con cifras de la misma clase a la vista ([todas ellas](nbs/choices.ipynb), en inglés). Las cabezas aprenden "
            "de piezas buenas, etiquetas, máscaras y tipos de las demás particiones. Entre corchetes, el intervalo "
            "bootstrap del 95 %. *Tipo* es la proporción de defectos que reciben el nombre de su tipo, con la región tomada"
            " del mapa de calor. *No detectados* son los defectos que la cadena completa da por normales; *falsas alarmas*, las piezas "
            "buenas que da por anómalas; *a una persona*, las imágenes que deja sin decidir."
        ),
        "head": (
            "| categoría | no detectados | falsas alarmas | a una persona | AUROC de imagen | F1 | error de calibración "
            "| AUROC de píxel | AUPRO | juego de señalar | tipo |"
        ),
        "mean": "media",
        "others": (
            "Las mismas medidas, medias de las categorías, junto a otros. *Mismas imágenes*: ejecutado aquí, con las mismas"
            " imágenes; los de anomalib y la sonda, con los pesos de la primera fila, los de anomalib a 256 px; *publicado*: de los"
            " autores, con todo el conjunto de prueba."
        ),
        "others_head": "| método | aprende de | medido en | AUROC de imagen | AUROC de píxel | AUPRO |",
        "learned": {
            "good": "piezas buenas",
            "labels": "piezas buenas, etiquetas",
            "masks": "piezas buenas, etiquetas, máscaras",
        },
        "of": "{} de {}",
        "names": {
            "ours": "este proyecto, `{}` a {} px",
            "earlier": "lo mismo, una versión anterior, `{}` a {} px",
            "probe": "sonda lineal sobre la red congelada",
            "same": "mismas imágenes",
            "published": "publicado",
        },
        "explained": (
            "¿Qué vale un mapa, y de qué aprendió? Medias de las categorías con máscaras, fuera de la partición, con las mismas imágenes "
            "y con intervalos del 95 % por remuestreo (`benchmarks/explanations.py` y `finetuned.py`). La primera fila se mide en "
            "aquello para lo que se entrenó; en las demás, ninguna red ha visto una máscara. La red ajustada es EfficientNet-Lite0 a "
            "320 px, una por partición para todas las categorías; el Grad-CAM corriente hace que todo mapa vaya de 0 a 1, también los "
            "de piezas buenas. Los de anomalib son distancias a las piezas buenas, que ninguna etiqueta ha tocado. "
            "Las cabezas son de una segunda ejecución, de la misma semilla, en otra máquina."
        ),
        "explained_head": "| mapa | aprende de | AUROC de imagen | AUROC de píxel | AUPRO | juego de señalar |",
        "maps": {
            "masks": "cabezas de este proyecto",
            "labels": "las mismas cabezas, sin ver máscaras",
            "gradcam": "red ajustada, Grad-CAM corriente en la última etapa",
            "gradcam, unscaled": "lo mismo, con los valores de los mapas",
            "layercam, fused": "la misma red, LayerCAM de tres profundidades",
        },
        "choices": (
            "Lo que valen las decisiones del detector: una cambiada cada vez, AUROC de imagen medio de {categories} "
            "(`benchmarks/choices.py`; por categoría, en `figures/mvtec_ad/tables/choices.csv`). *Validación* son "
            "imágenes de entrenamiento de las que una cabeza no aprendió, y por ella se puede elegir; *fuera de la partición* "
            "dice en qué quedó. (Medido con una versión anterior, cuyas cabezas se detenían antes, cada una con su parte de validación.)"
        ),
        "choices_head": "| | validación | fuera de la partición |",
        "changes": {
            "as it is": "como es",
            "no masks": "sin las máscaras",
            "no memory": "sin la memoria de lo bueno",
            "no views": "sin vistas alteradas",
            "one for all": "las mismas cabezas para todas las categorías",
        },
        "speed": (
            "Lo que tarda una imagen con dos núcleos y sin GPU, junto a una pasada de la red sola, al mismo tamaño, en la misma "
            "ejecución (`benchmarks/inspect_speed.py` y `reference_speed.py`, imágenes de una categoría). `inspect` lee ficheros y "
            "escribe filas, miniaturas y galería; los demás reciben imágenes que ya están en memoria, de 16 en 16. De "
            "{most} piezas buenas en una llamada, la primera décima parte tardó {first_tenth_ms} ms por imagen y la última "
            "{last_tenth_ms}; la memoria llegó a {peak_mb} MB, y con {fewest} piezas a {least_mb} MB. Los milisegundos de ejecuciones "
            "distintas no se comparan, porque cambia la velocidad de la propia máquina; las proporciones sí."
        ),
        "speed_head": "| | px | milisegundos por imagen | veces la red sola |",
        "works": {
            "normal": "`inspect`, pieza buena",
            "defective": "`inspect`, pieza defectuosa",
            "detector": "su detector solo",
            "patchcore": "PatchCore, anomalib",
            "padim": "PaDiM, anomalib",
        },
    },
}
NAMES = {"patchcore": "PatchCore", "padim": "PaDiM"}
PUBLISHED = [
    ("PatchCore, WR50", 0.989, None, None),
    ("PatchCore, ensemble", None, 0.988, 0.965),
    ("AE-SSIM", None, 0.904, None),
]


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / f"{name}.csv").set_index("category")


def number(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.3f}"


def interval(row: pd.Series, value: str, bounds: str) -> str:
    known = pd.notna(row.get(f"{bounds}_low"))
    return number(row[value]) + (
        f" [{row[f'{bounds}_low']:.3f}, {row[f'{bounds}_high']:.3f}]" if known else ""
    )


def own_rows(mean: str, of: str) -> list[str]:
    "A line for each category, and their `mean`, whose counts are sums."
    counts, verdicts = table("end_to_end"), pd.read_csv(TABLES / "data_counts.csv")
    tested = (
        verdicts[verdicts.folder == "test"]
        .assign(label=lambda v: v.defect != "good")
        .groupby(["category", "label"])
        .images.sum()
    )
    tested = {c: (tested[c, False], tested[c, True]) for c in tested.index.levels[0]}
    tested["mean"] = tuple(map(sum, zip(*tested.values(), strict=True)))
    where, types = table("localisation"), table("types").query("region == 'heatmap' and method == 'supcon'")
    rows = []
    for category, d in table("detection").iterrows():
        found = where.loc[category] if category in where.index else pd.Series(dtype=float)
        (good, bad), chain = tested[category], counts.loc[category]
        cells = [
            mean if category == "mean" else category,
            of.format(f"{chain.missed:.0f}", bad),
            of.format(f"{chain.false_alarms:.0f}", good),
            of.format(f"{chain.reviews:.0f}", good + bad),
            interval(d, "image_auroc", "auroc"),
            interval(d, "f1", "f1"),
            number(d.ece),
        ]
        cells += [number(found.get(m)) for m in ("pixel_auroc", "aupro", "pointing")]
        rows.append(" | ".join([*cells, interval(types.loc[category], "accuracy", "accuracy")]))
    return rows


def other_rows(names: dict[str, str], learned: dict[str, str]) -> list[str]:
    "A line for each method, from the tables where it was run here."
    backbones, reference = pd.read_csv(TABLES / "backbones.csv"), table("reference").loc["mean"]
    about, now, where = (
        pd.read_json(TABLES / "about.json", typ="series"),
        table("detection").loc["mean"],
        table("localisation").loc["mean"],
    )
    ours = [
        (
            names["ours"].format(backbones.backbone[0], about.image_size),
            now.image_auroc,
            where.pixel_auroc,
            where.aupro,
        )
    ]
    ours += [
        (names["earlier"].format(r.backbone, r.image_size), r.image_auroc, r.pixel_auroc, r.aupro)
        for r in backbones.itertuples()
    ]
    found = [(name, "masks", "same", *values) for name, *values in ours]
    found += [(names["probe"], "labels", "same", table("detection").loc["mean"].probe_auroc, None, None)]
    found += [
        (f"{NAMES[r.method]}, anomalib", "good", "same", r.image_auroc, r.pixel_auroc, r.aupro)
        for r in reference.itertuples()
    ]
    found += [(method, "good", "published", *values) for method, *values in PUBLISHED]
    return [
        " | ".join([method, learned[kind], names[source], *map(number, values)])
        for method, kind, source, *values in found
    ]


def explained_rows(names: dict[str, str], learned: dict[str, str]) -> list[str]:
    "A line for each kind of map, in the categories that have masks."
    means = pd.concat([pd.read_csv(TABLES / f"{name}.csv") for name in ("explanations", "finetuned")]).query(
        "category == 'mean'"
    )
    rows = [
        (names[r.heads], "masks" if "masks" in r.learned_from else "labels", r) for _, r in means.iterrows()
    ]
    others = pd.read_csv(TABLES / "reference.csv").query("category != 'mean'").dropna(subset="pixel_auroc")
    others = others.groupby("method").mean(numeric_only=True).sort_values("aupro", ascending=False)
    rows += [(f"{NAMES[method]}, anomalib", "good", r) for method, r in others.iterrows()]
    maps = ("pixel_auroc", "aupro", "pointing")
    return [
        " | ".join([name, learned[kind], number(r.image_auroc), *(interval(r, m, m) for m in maps)])
        for name, kind, r in rows
    ]


def choice_rows(names: dict[str, str]) -> list[str]:
    "A line for each choice; sizes have no other name."
    means = pd.read_csv(TABLES / "choices.csv").query("category == 'mean'")
    return [
        " | ".join([names.get(r.choice, r.choice), number(r.validation_auroc), number(r.image_auroc)])
        for r in means.itertuples()
    ]


def speed_rows(names: dict[str, str]) -> list[str]:
    "A line for `inspect` on either kind of part, then one for what was measured beside anomalib's models at one size."
    own, others = (pd.read_csv(TABLES / f"{name}_speed.csv") for name in ("inspect", "reference"))
    own["method"] = own.work.str.removesuffix(", with writing")
    found = pd.concat([own, others]).set_index("method").loc[list(names)]
    return [f"{names[r.Index]} | {r.size} | {r.ms_per_image:.0f} | {r.ratio:.2f}" for r in found.itertuples()]


def growth() -> dict[str, str]:
    "What the most good parts in one call took, beside the fewest."
    table = pd.read_csv(TABLES / "inspect_growth.csv").query("kind == 'normal'").sort_values("images")
    most, fewest = table.iloc[-1], table.iloc[0]
    took = {name: f"{most[name]:.0f}" for name in ("first_tenth_ms", "last_tenth_ms", "peak_mb")}
    return {
        "most": f"{most.images:.0f}",
        "fewest": f"{fewest.images:.0f}",
        "least_mb": f"{fewest.peak_mb:.0f}",
        **took,
    }


def results(name: str) -> str:
    "The results section of the README `name`, from the tables."
    about, text = pd.read_json(TABLES / "about.json", typ="series"), TEXTS[name]
    tried = ", ".join(pd.read_csv(TABLES / "choices.csv").query("category != 'mean'").category.unique())
    lines = ["<!-- results -->"]
    for said, head, rows in (
        (
            text["intro"].format(folds=about.folds, size=about.image_size),
            text["head"],
            own_rows(text["mean"], text["of"]),
        ),
        (text["others"], text["others_head"], other_rows(text["names"], text["learned"])),
        (text["explained"], text["explained_head"], explained_rows(text["maps"], text["learned"])),
        (text["choices"].format(categories=tried), text["choices_head"], choice_rows(text["changes"])),
        (text["speed"].format(**growth()), text["speed_head"], speed_rows(text["works"])),
    ):
        if name.endswith(".es.md"):
            rows = [re.sub(r"(?<=\d)\.(?=\d)", ",", re.sub(r"(?<=\d), (?=\d)", "; ", row)) for row in rows]
        lines += [said, "", head, "|---" * (head.count("|") - 1) + "|", *(f"| {row} |" for row in rows), ""]
    return "\n".join(lines)


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_tables(name):
    assert PLACE.search((ROOT / name).read_text(encoding="utf-8")).group(0) == results(name)


def test_where_the_second_opinion_is_on_is_as_in_the_table():
    weights = table("verification").deployed_weight
    (only,) = weights.index[weights > 0]
    said = {"README.md": f"it is on for {only} alone", "README.es.md": f"solo está activa en *{only}*"}
    said["nbs/index.ipynb"] = f"it is on for {only} alone"
    for name, text in said.items():
        assert text in " ".join((ROOT / name).read_text(encoding="utf-8").split()), name


@pytest.mark.parametrize("name", TEXTS)
def test_images_of_the_examples_are_drawn(name, tmp_path):
    shown = set(re.findall(r"runs/sample/sample/([\w/]+\.png)", (ROOT / name).read_text(encoding="utf-8")))
    assert shown
    make_sample(
        tmp_path,
        train=1,
        good=1,
        per_type=1,
        size=32,
        categories=sorted({path.split("/")[0] for path in shown}),
    )
    assert [path for path in shown if not (tmp_path / path).is_file()] == []


if __name__ == "__main__":
    for name in TEXTS:
        path = ROOT / name
        path.write_text(
            PLACE.sub(lambda _: results(name), path.read_text(encoding="utf-8")), encoding="utf-8"
        )

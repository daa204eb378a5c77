"""Print what the house is like: lines of each phase, long cells and modules, share of prose, lines that stand twice.

.venv/bin/python .ci/facts.py
"""

import re
import statistics
from collections import defaultdict
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
WINDOW = 6  # lines that count as a duplicate


def notebooks() -> list[Path]:
    "All notebooks but the checkpoints of an editor."
    found = sorted((ROOT / "nbs").rglob("*.ipynb"))
    return [p for p in found if ".ipynb_checkpoints" not in p.parts]


def modules() -> list[Path]:
    "All exported modules."
    return sorted(
        p for p in (ROOT / "mvtec_xai").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py")
    )


def code_lines(source: str) -> list[str]:
    "Lines that are neither empty nor a comment alone."
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def facts(notebook: Path) -> dict:
    "Lines and cells of one notebook."
    cells = nbformat.read(notebook, 4).cells
    code = [c.source for c in cells if c.cell_type == "code"]
    kept = [s for s in code if re.search(r"^#\|\s*export", s, re.MULTILINE)]
    lengths = [len(s.splitlines()) for s in code] or [0]
    return {
        "exported": sum(len(code_lines(s)) for s in kept),
        "unexported": sum(len(code_lines(s)) for s in code if s not in kept),
        "longest cell": max(lengths),
        "median cell": statistics.median(lengths),
        "prose": round(sum(c.cell_type == "markdown" for c in cells) / len(cells), 2),
    }


def duplicates() -> list[str]:
    "Places where six lines of code stand that stand elsewhere too."
    places = defaultdict(list)
    for path in [*modules(), *sorted(ROOT.glob("benchmarks/*.py"))]:
        lines = [line.strip() for line in code_lines(path.read_text(encoding="utf-8"))]
        lines = [line for line in lines if not line.startswith(("import ", "from "))]
        for k in range(len(lines) - WINDOW + 1):
            places["\n".join(lines[k : k + WINDOW])].append(f"{path.relative_to(ROOT)}: {lines[k]}")
    return [" = ".join(where) for where in places.values() if len(where) > 1]


def main() -> None:
    found = {p.relative_to(ROOT / "nbs").as_posix(): facts(p) for p in notebooks()}
    for name, row in found.items():
        print(f"{name:36}" + "".join(f"{key} {value:<7}" for key, value in row.items()))
    phases = [row for name, row in found.items() if re.match(r"\d\d_", name)]
    kept, rest = (sum(row[key] for row in phases) for key in ("exported", "unexported"))
    every = sum(row["exported"] for row in found.values())
    print(f"phases: {rest} unexported lines, {kept} exported; all notebooks: {every} exported")
    sizes = {
        p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in modules()
    }
    print("modules over 250 lines:", {n: s for n, s in sizes.items() if s > 250} or "none")
    print("six lines that stand twice:", *(duplicates() or ["none"]), sep="\n  ")


if __name__ == "__main__":
    main()

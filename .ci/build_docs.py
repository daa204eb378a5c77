"""Build the site from index and notebooks: nbdev prepares a Quarto project in _proc, smalldocs renders it to _docs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

root = Path(__file__).parents[1]
LINK = re.compile(
    r"\[(`[\w.]+`)\]\(https://[^)\s]*\)"
)  # nbdev links names in the comments of signatures too, where a link cannot be


def main() -> None:
    from nbdev.doclinks import nbdev_export
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import proc_nbs

    nbdev_export()
    refresh_quarto_yml()
    nbdev_sidebar(force=True)
    proc_nbs()
    subprocess.run([Path(sys.executable).with_name("smalldocs"), "render", "_proc"], cwd=root, check=True)
    shutil.rmtree(root / "_docs", ignore_errors=True)
    shutil.copytree(root / "_proc" / "_docs", root / "_docs")
    for page in (root / "_docs").rglob("*.html"):
        page.write_text(LINK.sub(r"\1", page.read_text(encoding="utf-8")), encoding="utf-8")
    print("open _docs/index.html")


if __name__ == "__main__":  # proc_nbs starts workers that import this file
    main()

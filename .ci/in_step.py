"""Check that modules are exported from the notebooks as they are now, and that the notebooks are clean."""

import hashlib
import subprocess
import sys
from pathlib import Path

root = Path(__file__).parents[1]


def digests() -> dict[str, str]:
    files = [*root.glob("nbs/**/*.ipynb"), *root.glob("mvtec_xai/**/*.py")]
    return {
        str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if ".ipynb_checkpoints" not in f.parts
    }


for command, remedy in (
    ("nbdev_export", "the modules are out of step with the notebooks"),
    ("nbdev_clean", "the notebooks were not clean"),
):
    before = digests()
    subprocess.run([Path(sys.executable).with_name(command)], cwd=root, check=True)
    after = digests()
    if changed := sorted(f for f in before | after if before.get(f) != after.get(f)):
        sys.exit(
            f"{command} changed {', '.join(changed)}: {remedy}; it has mended that now, look at the change and commit it"
        )
print("modules and notebooks are in step")

"""How `make lab` opens JupyterLab: it sees the run beside the notebooks, and saves a notebook as `nbdev_clean` does.

JupyterLab writes its kernel and the version of Python into a notebook that is only looked at. Cleaned as it is saved,
the file stays as it was, and git has nothing to say.
"""

from nbdev.clean import clean_nb
from nbdev.config import get_config


def clean(model: dict, **about) -> None:
    "Clean a notebook that is about to be saved."
    if model["type"] == "notebook":
        kept = get_config().get("allowed_cell_metadata_keys").split()
        clean_nb(model["content"], allowed_cell_metadata_keys=kept, clean_ids=True)


c.ContentsManager.pre_save_hook = clean  # noqa: F821, Jupyter puts `c` here
c.ServerApp.root_dir = "."  # noqa: F821
c.LabApp.default_url = "/lab/tree/nbs"  # noqa: F821

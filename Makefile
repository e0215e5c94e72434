# make demo: see the tool work.  make test: run the tests.  Both do all their own set-up.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export QT_API ?= pyqt5
export PYTEST_QT_API ?= $(QT_API)
export OMP_WAIT_POLICY = PASSIVE
HEADLESS = $(if $(DISPLAY)$(WAYLAND_DISPLAY),,xvfb-run -a -s "-screen 0 1600x1000x24")

.PHONY: demo test gui-smoke lint docs clean

demo: $(VENV)/.ready
	$(HEADLESS) $(BIN)/owlabel demo $(if $(HEADLESS),--walk demo-output)

test: $(VENV)/.ready
	$(BIN)/python -m pytest --no-header $(PYTEST_ARGS)

lint: $(VENV)/.ready
	$(BIN)/python -m pip install -q "ruff>=0.9" "mypy>=1.14" types-cachetools types-psutil
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/docs/index.html.  Warnings are errors; nothing is fetched from the network.
docs: $(VENV)/.ready
	$(BIN)/python -m pip install -q -e ".[docs]"
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs build/docs

# The same window on Qt 6, in an environment of its own beside the first.
gui-smoke: $(VENV)/.ready
	scripts/system-packages qt6
	$(BIN)/python -m pip install -q "PyQt6>=6.6" "PyQt6-Qt6!=6.11.0,!=6.11.1"
	QT_API=pyqt6 PYTEST_QT_API=pyqt6 $(BIN)/python -m pytest -q -m gui tests/plugins/owlabel_napari $(PYTEST_ARGS)

$(VENV)/.ready: pyproject.toml
	scripts/system-packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e ".[pyqt5,test]"
	touch $@

clean:
	rm -rf $(VENV) .venv-* demo-output dist build

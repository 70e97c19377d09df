# Two commands for a newcomer: `make demo` and `make test`. Both make their own virtual environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
DEMO_PATIENTS := 20
# With this seed the small cohort shows the levels about as often as the database does.
DEMO_SEED := 8

.PHONY: demo test browser docs notebook tutorial check format config model bench fuzz torture determinism soak clean

demo: $(VENV)/installed
	$(BIN)/vertloc phantom --out $(DEMO)/cohort --patients $(DEMO_PATIENTS) --seed $(DEMO_SEED) --coarse
	$(BIN)/vertloc study --data $(DEMO)/cohort --folds $(DEMO)/cohort/fold1.txt $(DEMO)/cohort/fold2.txt \
	  --config configs/default.yaml --out $(DEMO)/study
	@echo "The table is in $(DEMO)/study/table.md, the landmarks in $(DEMO)/study/lml, the report in $(DEMO)/study/report.html"

test: $(VENV)/installed
	$(BIN)/python -m pytest

# The report in a real headless Chromium (Debian: apt-get install chromium; elsewhere CHROMIUM=/path/to/it).
browser: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev,browser]"
	REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/browser

# The documentation site, in site/; any warning is an error. NO_MKDOCS_2_WARNING hides an advertisement of its theme.
docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Runs the documentation's notebook again and keeps its results in it.
notebook: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace docs/notebooks/inside.ipynb

# Runs the tutorial's examples again and keeps what they print in it; its sentences are for a person to check.
tutorial: $(VENV)/installed
	$(BIN)/python scripts/tutorial.py

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

config: $(VENV)/installed
	$(BIN)/python scripts/default_config.py

# 100 kills, a full disk, shared folders and damaged caches; then the same bytes in some twenty circumstances.
torture: $(VENV)/installed
	$(BIN)/python scripts/torture.py --out build/torture --kills 100

# A million damaged and hostile files through every door: images, DICOM, landmarks, models, configurations, fold files.
fuzz: $(VENV)/installed
	$(BIN)/python scripts/fuzz.py --inputs 1000000 --progress

determinism: $(VENV)/installed
	$(BIN)/python scripts/determinism.py --out build/determinism

# Fifty trainings in one process under debugging allocators: hours.
soak: $(VENV)/installed
	test -d $(DEMO)/cohort || $(BIN)/vertloc phantom --out $(DEMO)/cohort --patients $(DEMO_PATIENTS) \
	  --seed $(DEMO_SEED) --coarse
	$(BIN)/python scripts/soak.py --data $(DEMO)/cohort --rounds 50

# The packaged model and its card: make model DATA="DIR ..." [STUDY=DIR [NARROW=DIR]], STUDY a cross-validation of the
# same recipe, NARROW what scripts/narrow_study.py made of it.
model: $(VENV)/installed
	$(BIN)/python scripts/build_model.py --data $(DATA) $(if $(STUDY),--study $(STUDY)) $(if $(NARROW),--narrow $(NARROW))

bench: $(VENV)/installed
	$(BIN)/python scripts/bench.py --out bench.json

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

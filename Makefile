# The only commands one needs. Every target works on a fresh clone: .venv is built when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCHMARKS := engine_throughput engine_overhead engine_fairness ack_latency db_scale

.PHONY: try run test check format bench migrate install

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

try: install          ## local Discord + bot; prints the page's address
	$(BIN)/limner try

run: install          ## the bot on the real Discord (LIMNER_DISCORD_TOKEN)
	$(BIN)/limner run

# A file per process and one thread each: processes with more of them would fight for the cores.
test: install         ## every test that this machine can run
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile $(ARGS)

check: install        ## format, lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_documentation.py

format: install       ## rewrite the files as ruff wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install        ## benchmarks; the last line of each is JSON. With a GPU also that one, into data/gpu
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done
	! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
		$(BIN)/python benchmarks/gpu.py --out data/gpu

migrate: install      ## bring the database up to date
	$(BIN)/limner db migrate

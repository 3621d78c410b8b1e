# Every target makes the environment it needs (.venv) first. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAGE  ?= match-pairs
DATA   ?= data

.DEFAULT_GOAL := help
.PHONY: help install format lint type test unit e2e check mutants vocab wordnet demo run dataflow train clean

help:  ## List the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/installed  ## Make .venv with the project and all it needs

# A CPU build of torch is far smaller than the default one; it is taken where pip finds its file on disk.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wit400m needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@echo "Making $(VENV) (once; some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m pip install -qq --no-index --no-deps -r constraints.txt 2>/dev/null; \
	  then $(BIN)/python -m pip install -qq -c constraints.txt -e '.[train,dev]'; \
	  else $(BIN)/python -m pip install -qq -e '.[train,dev]'; fi
	@touch $@

format: install  ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install  ## Check style and format (ruff)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: install  ## Check types (mypy --strict)
	@$(BIN)/mypy

test: install  ## Run all tests
	@$(BIN)/python -m pytest -q

unit: install  ## Run the fast tests only
	@$(BIN)/python -m pytest -q tests/unit vocab pipeline jobs clip_train

e2e: install  ## Run the tests of whole jobs
	@$(BIN)/python -m pytest -q tests/e2e

mutants: install  ## Change the pure modules bit by bit; do their tests notice? (minutes) ARGS="--sample 20 [MODULE …]"
	@$(BIN)/python tests/mutants.py $(ARGS)

check: lint type test  ## All that must hold before a change lands: style, types, layers, tests

wordnet: install  ## Get WordNet (NLTK's download, or Debian's packages) into .venv, where build-vocab finds it
	@$(BIN)/wit400m get-wordnet --output $(VENV)/nltk_data

# Without DUMP, what is missing of WIKI's dump and page views is downloaded into $(DATA)/dumps; without WORDNET,
# WordNet into .venv if NLTK finds none. get-dump prints flags of build-vocab, quoted for the shell.
WIKI ?= simplewiki
GET_DUMP = $(BIN)/wit400m get-dump --data $(DATA) --wiki $(WIKI) $(if $(DATE),--date $(DATE)) $(if $(BASE),--base-url $(BASE)) \
  $(if $(CONTACT),--contact $(CONTACT)) $(if $(VIEWS),--views none)
GET_WORDNET = $(BIN)/wit400m get-wordnet --if-missing --output $(VENV)/nltk_data $(if $(WORDNET_INDEX),--index-url $(WORDNET_INDEX))

vocab: install  ## Build the query vocabulary of WIKI=simplewiki [DATE=…] [CONTACT=…] [BASE=…], or of DUMP=FILE [VIEWS=…] [ARGS=…]
	@$(if $(WORDNET)$(findstring --wordnet,$(ARGS)),,$(GET_WORDNET))
	@set -e; $(if $(DUMP),set -- --dump $(DUMP),flags=$$($(GET_DUMP)); eval "set -- $$flags"); \
	  $(BIN)/wit400m build-vocab --data $(DATA) "$$@" $(if $(VIEWS),--pageviews $(VIEWS)) $(if $(WORDNET),--wordnet $(WORDNET)) $(ARGS)

demo: install  ## The whole flow on a small made-up world: vocabulary to trained model (about 5 minutes)
	@$(BIN)/wit400m demo --output demo-data $(ARGS)

run: install  ## Run one stage: STAGE=match-pairs ARGS="--workers 2"
	@$(BIN)/wit400m $(STAGE) --data $(DATA) $(ARGS)

dataflow: install  ## Run one stage on Dataflow: STAGE=… ARGS="--project=… --region=… --temp_location=gs://… --data=gs://…"
	@$(BIN)/wit400m $(STAGE) --runner=DataflowRunner --setup_file=./pyproject.toml $(ARGS)

train: install  ## Train on shards: ARGS="--shards data/shards --output model"
	@$(BIN)/python -m clip_train train $(ARGS)

clean:  ## Remove the environment, caches and the demo's data
	@rm -rf $(VENV) demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

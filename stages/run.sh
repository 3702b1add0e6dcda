# Runs a stage: `sh stages/run.sh train kc`. dvc.yaml's commands go through here, so that `dvc repro` works without an
# activated environment, and so that the copies which `dvc exp run --queue` makes use their own code.
if [ -n "$VIRTUAL_ENV$CONDA_PREFIX" ]; then
  python=python
else
  # DVC_ROOT is the main checkout, also in a copy.
  python="${DVC_ROOT:-.}/.venv/bin/python"
  [ -x "$python" ] || python="$(command -v python || command -v python3)"
fi
stage="$1"
shift
export PYTHONPATH=src
# What one library says to another about its next release; nobody who runs a stage can mend it.
export PYTHONWARNINGS="${PYTHONWARNINGS:-ignore::FutureWarning}"
# A slip in a name would leave a limit unset, such as the budget.
known="ASK_AGAIN BATCH_TOKENS BUDGET CHECKPOINTING CONCURRENCY DEBUG DEVICE HEADERS JUDGE_API_KEY MICRO_BATCH PRECISION PREVIEW
PRICES PROCESSES RETRIES RPM SAVE_SECONDS TEACHER_MODE TIMEOUT TPM VLLM VLLM_CARDS VLLM_MEMORY VLLM_URL"
for name in $(env | sed -n 's/^KNOWTUNING_\([A-Za-z0-9_]*\)=.*/\1/p'); do
  if ! echo "$known" | grep -qw -- "$name"; then
    echo "error: environment: KNOWTUNING_$name is no variable of this project; expected KNOWTUNING_ and one of" $known >&2
    exit 1
  fi
done
# The whole of params.yaml, once after each edit: a slip in the section of a late stage would end the run hours later.
# `stages` first, which says when this Python is the wrong one.
checked=.dvc/tmp/params.checked
if [ ! "$checked" -nt params.yaml ]; then
  "$python" -c "import stages" && "$python" -m knowtuning.config.schema params.yaml || exit 1
  mkdir -p .dvc/tmp && touch "$checked"
fi
exec "$python" -m "stages.$stage" "$@"

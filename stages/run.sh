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
# The whole of params.yaml, once after each edit: a slip in the section of a late stage would end the run hours later.
# `stages` first, which says when this Python is the wrong one.
checked=.dvc/tmp/params.checked
if [ ! "$checked" -nt params.yaml ]; then
  "$python" -c "import stages" && "$python" -m knowtuning.config.schema params.yaml || exit 1
  mkdir -p .dvc/tmp && touch "$checked"
fi
exec "$python" -m "stages.$stage" "$@"

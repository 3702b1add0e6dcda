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
PYTHONPATH=src exec "$python" -m "stages.$stage" "$@"

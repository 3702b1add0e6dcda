"""The objects of a DVC remote, one by one: `python -m knowtuning.remote check [--all]`, or `mend`.

`dvc push` takes a folder for complete when the list of its files is on the remote, so it never replaces a
file of that folder that was lost or damaged there. `check` reads every object that this checkout needs (with
--all: every branch, tag and experiment) and names those that are missing or corrupted with the files they
hold; `mend` also replaces them from the local cache. Both end with status 1 when something is left to mend.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal


def needed(repo: Any, *, everything: bool) -> dict[str, str]:
    """Object id (md5) -> file, of all outputs of this checkout, or of every branch, tag and experiment."""
    scope = dict.fromkeys(("all_branches", "all_tags", "all_experiments"), everything)
    used = [info for objects in repo.used_objs(**scope).values() for info in objects]
    return {info.value: info.obj_name or "" for info in sorted(used, key=lambda info: str(info.obj_name))}


def problem_of(store: Any, oid: str) -> Literal["missing", "corrupted"] | None:
    """What is wrong with an object of a store; the whole object is read."""
    from dvc_data.hashfile.hash import hash_file

    path = store.oid_to_path(oid)
    try:
        _, actual = hash_file(path, store.fs, "md5")
    except FileNotFoundError:
        return "missing"
    # A list of files is stored under its hash with the ending .dir.
    return None if actual.value == oid.removesuffix(".dir") else "corrupted"


def mend(repo: Any, remote: Any, oid: str, problem: str) -> bool:
    """Replace an object of the remote by the local one; False where the local cache has no good one."""
    local = repo.cache.local
    if problem_of(local, oid):
        return False
    if problem == "corrupted":
        remote.delete(oid)
    remote.add(local.oid_to_path(oid), local.fs, oid, verify=False)
    return problem_of(remote, oid) is None


def main() -> int:
    from dvc.repo import Repo

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=("check", "mend"))
    parser.add_argument("--remote", help="name of the remote (default: the default remote)")
    parser.add_argument("--all", action="store_true", help="every branch, tag and experiment")
    arguments = parser.parse_args()
    broken = left = 0
    try:
        with Repo(str(Path.cwd())) as repo:
            remote = repo.cloud.get_remote_odb(arguments.remote, arguments.task)
            for oid, file in needed(repo, everything=arguments.all).items():
                if problem := problem_of(remote, oid):
                    mended = arguments.task == "mend" and mend(repo, remote, oid, problem)
                    broken, left = broken + 1, left + (not mended)
                    print(f"{file}: object {oid} is {problem}{'; mended' if mended else ''}")
    except Exception as error:
        # Those of DVC's storage plug-ins, such as of credentials that are not there, have no base in common.
        sys.stderr.write(f"error: {type(error).__name__}: {' '.join(str(error).split())}\n")
        return 1
    if left:
        fix = "not in the local cache: `dvc repro` makes them, or run `mend` where they are"
        if arguments.task == "check":
            fix = "run `mend` in a checkout whose cache has them"
        sys.stderr.write(f"error: {left} of {broken} faulty objects left; {fix}\n")
    else:
        print(f"{remote.fs.unstrip_protocol(remote.path)}: all objects are good")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

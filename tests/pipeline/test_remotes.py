"""DVC remotes for real: a folder, S3 and SSH on loopback; push, clone, pull; lost and damaged objects; gc."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.checkout import CODE
from tests.support.shell import run, start, until
from tests.support.small_project import new_clone, params, store

CHECK = ("python", "-m", "knowtuning.remote")
AWS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Remote:
    """How to reach a remote: settings that git keeps, and those of one machine."""

    url: str
    settings: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def add(self, project: Path) -> None:
        """Make it the default remote, in a commit."""
        run(project, "dvc", "remote", "add", "-d", "team", self.url)
        for name, value in {"verify": "true", **self.settings}.items():
            run(project, "dvc", "remote", "modify", "team", name, value)
        run(project, "git", "commit", "-qam", "A remote for the team")

    def unlock(self, project: Path) -> None:
        """What a person types once in a clone: credentials, kept out of git."""
        for name, value in self.local.items():
            run(project, "dvc", "remote", "modify", "--local", "team", name, value)


def objects(folder: Path) -> list[Path]:
    """The stored files, lists of folders left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".dir")


def share(project: Path, remote: Remote) -> None:
    """Push, clone, pull: the clone has everything, runs nothing and compares metrics."""
    remote.add(project)
    remote.unlock(project)
    # 4 files of data/prepared, their list, and models/sum.txt.
    assert "6 files pushed" in run(project, "dvc", "push", **remote.variables)
    clone = new_clone(project, project.parent / "clone")
    remote.unlock(clone)
    run(clone, "dvc", "pull", **remote.variables)
    for path in ("data/prepared/0.txt", "models/sum.txt"):
        assert (clone / path).read_bytes() == (project / path).read_bytes()
    assert "Running stage" not in run(clone, "dvc", "repro")
    assert run(clone, "git", "status", "--short") == ""
    assert "all objects are good" in check(clone, "check", **remote.variables)


def check(folder: Path, *words: str, status: int = 0, **variables: str) -> str:
    return run(folder, *CHECK, *words, status=status, **CODE, **variables)


def test_the_default_remote_needs_no_account(project: Path) -> None:
    assert "6 files pushed" in run(project, "dvc", "push")
    assert len(objects(store(project))) == 5
    clone = new_clone(project, project.parent / "clone")
    assert "Running stage" not in run(clone, "dvc", "repro", "--pull")
    assert run(clone, "git", "status", "--short") == ""


def test_a_pull_from_a_remote_that_lacks_everything_says_what_is_missing(project: Path) -> None:
    clone = new_clone(project, project.parent / "clone")
    output = run(clone, "dvc", "pull", status=1)
    assert "do not exist neither locally nor on remote" in output
    assert "data/prepared" in output
    assert "models/sum.txt" in output
    # ... and the stages can make it all again.
    assert "Running stage 'make'" in run(clone, "dvc", "repro")


def test_s3(project: Path) -> None:
    with servers.s3(project.parent) as (url, _):
        import boto3

        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="knowtuning")
        share(project, Remote("s3://knowtuning/store", {"endpointurl": url}, variables=AWS))


def test_an_error_of_a_storage_plug_in_is_one_line(project: Path) -> None:
    """Without credentials botocore raises an error of its own, which is none of DVC's."""
    run(project, "dvc", "remote", "add", "team", "s3://knowtuning/store")
    nothing = dict.fromkeys(AWS, "") | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": ""}
    output = check(project, "check", "--remote", "team", status=1, **nothing)
    assert output.startswith("error: ")
    assert output.count("\n") == 1


@pytest.fixture
def sshd(tmp_path: Path) -> servers.Sshd:
    folder = tmp_path / "keys"
    folder.mkdir()
    return servers.Sshd(folder)


def ssh_remote(server: servers.Sshd, store: Path) -> Remote:
    url = f"ssh://{server.user}@127.0.0.1:{server.port}{store}"
    return Remote(url, local={"keyfile": str(server.folder / "client_key")})


def test_ssh(project: Path, sshd: servers.Sshd) -> None:
    with sshd.serving():
        share(project, ssh_remote(sshd, project.parent / "store"))


def test_metrics_of_two_commits_compare_in_a_clone_without_data(project: Path) -> None:
    (project / "params.yaml").write_text(params(factor=3))
    run(project, "dvc", "repro", "-q")
    run(project, "git", "commit", "-qam", "Three times as much")
    clone = new_clone(project, project.parent / "clone")
    # Four files of 50 times a three-digit number: 600 characters, then three times as many.
    line = run(clone, "dvc", "metrics", "diff", "--md", "HEAD~1").splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["metrics/sum.json", "total", "600", "1800", "1200"]


@pytest.mark.slow
def test_a_pull_that_loses_its_server_says_so_and_goes_on(project: Path, sshd: servers.Sshd) -> None:
    # Enough to be under way when the server dies: 60 files of 0.9 MB.
    (project / "params.yaml").write_text(params(rows=60, size=300_000))
    run(project, "dvc", "repro", "-q")
    run(project, "git", "commit", "-qam", "More rows")
    remote, clone = ssh_remote(sshd, project.parent / "store"), project.parent / "clone"
    with sshd.serving() as server:
        remote.add(project)
        remote.unlock(project)
        run(project, "dvc", "push")
        new_clone(project, clone)
        remote.unlock(clone)
        pull = start(clone, "dvc", "pull", "--jobs", "1")
        until(lambda: len(objects(clone / ".dvc/cache")) > 3 or pull.poll() is not None)
        servers.stop(server)
        output, _ = pull.communicate(timeout=120)
    assert pull.returncode == 1
    assert "ERROR" in output
    assert "Traceback" not in output
    before = len(objects(clone / ".dvc/cache"))
    assert 0 < before < 61
    assert run(clone, "git", "status", "--short") == ""
    with sshd.serving():
        output = run(clone, "dvc", "pull")
    assert "Running stage" not in run(clone, "dvc", "repro")


def test_missing_and_corrupted_objects_are_named_and_mended(project: Path) -> None:
    run(project, "dvc", "push")
    folder = store(project)
    lost, damaged = objects(folder)[:2]
    names = {path.parent.name + path.name for path in (lost, damaged)}
    lost.unlink()
    damaged.chmod(0o644)
    damaged.write_bytes(b"not this" + damaged.read_bytes())
    clone = new_clone(project, project.parent / "clone")
    output = check(clone, "check", status=1)
    assert {
        line.split("object ")[1].split()[0] for line in output.splitlines() if " object " in line
    } == names
    assert "is missing" in output
    assert "is corrupted" in output
    assert "error: 2 of 2 faulty objects left; run `mend` in a checkout whose cache has them" in output
    output = run(clone, "dvc", "pull", status=1)
    assert "failed to pull data from the cloud" in output
    # The clone cannot mend what it does not have; the checkout that made the objects can.
    assert "not in the local cache" in check(clone, "mend", status=1)
    assert check(project, "mend").count("; mended") == 2
    run(clone, "dvc", "pull")
    assert "Running stage" not in run(clone, "dvc", "repro")


@pytest.mark.slow
def test_gc_keeps_what_branches_and_experiments_need(project: Path) -> None:
    run(project, "git", "checkout", "-q", "-b", "other")
    (project / "params.yaml").write_text(params(seed=2))
    run(project, "dvc", "repro", "-q")
    run(project, "git", "commit", "-qam", "Another seed")
    run(project, "git", "checkout", "-q", "main")
    run(project, "dvc", "checkout", "-q")
    run(project, "dvc", "exp", "run", "-q", "--temp", "-n", "third", "-S", "seed=3")
    hub = project.parent / "hub.git"
    run(project.parent, "git", "clone", "-q", "--bare", str(project), str(hub))
    run(project, "dvc", "push", "-q", "--all-branches")
    run(project, "dvc", "exp", "push", "-q", str(hub), "third")
    folder = store(project)
    needed = {path.name for path in objects(folder)}
    # What nothing needs: the outputs of a run that was never committed.
    (project / "params.yaml").write_text(params(seed=4))
    run(project, "dvc", "repro", "-q")
    run(project, "dvc", "push", "-q")
    assert {path.name for path in objects(folder)} > needed
    run(project, "git", "reset", "-q", "--hard")
    run(project, "dvc", "checkout", "-q")
    scope = ("--all-branches", "--all-tags", "--all-experiments")
    run(project, "dvc", "gc", "--force", "--cloud", "--workspace", *scope)
    assert {path.name for path in objects(folder)} == needed
    assert "all objects are good" in check(project, "check", "--all")
    for branch in ("other", "main"):
        run(project, "git", "checkout", "-q", branch)
        run(project, "dvc", "checkout", "-q")
        assert "Running stage" not in run(project, "dvc", "repro")


def test_experiments_travel_with_code_and_outputs(project: Path) -> None:
    hub = project.parent / "hub.git"
    run(project.parent, "git", "clone", "-q", "--bare", str(project), str(hub))
    run(project, "git", "remote", "add", "origin", str(hub))
    run(project, "dvc", "push", "-q")
    run(project, "dvc", "exp", "run", "-q", "--temp", "-n", "twice-s1", "-S", "sum.factor=2")
    run(project, "dvc", "exp", "push", "origin", "-A")
    clone = new_clone(hub, project.parent / "clone")
    assert "twice-s1" in run(clone, "dvc", "exp", "list", "origin", "-A")
    run(clone, "dvc", "exp", "pull", "origin", "-A")
    run(clone, "dvc", "exp", "apply", "twice-s1")
    # 600 characters, twice.
    assert (clone / "models/sum.txt").read_text() == "1200\n"
    assert "Running stage" not in run(clone, "dvc", "repro", "--pull")

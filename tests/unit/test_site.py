"""What a site asks of its cluster against what the cluster offers, told as `sinfo` and `sacctmgr` tell it."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

from stepscape.cluster import jobs, profile, slurm
from stepscape.cluster.site import Site, read_site
from stepscape.cluster.slurm import Nodes, Offer, ask_slurm, mistakes_of_site, read_partitions
from stepscape.errors import FileError, StepscapeError
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from tests.factories import make_study

ROWS = [
    "gpu|gpu*|up|1-00:00:00|32000|gpu:h100:4(S:0-1)|nvlink,ib",
    "gpu|gpu*|up|1-00:00:00|64000|gpu:a100:2,gpu:v100:1|ib",
    "short|short|up|30:00|32000|gpu:4|(null)",
    "cpu|cpu|up|infinite|192000+|(null)|(null)",
    "old|old|inact|2-12:30:00|16000|gpu:k80:8,shard:16|(null)",
]
OFFER = Offer(read_partitions(ROWS), {"physics": ["normal", "long"], "maths": ["normal"]})


def test_partitions_are_read_as_sinfo_prints_them() -> None:
    found = OFFER.partitions
    assert list(found) == ["gpu", "short", "cpu", "old"]
    assert [partition.minutes for partition in found.values()] == [1440, 30, math.inf, 3630]
    assert [partition.is_default for partition in found.values()] == [True, False, False, False]
    assert [partition.is_up for partition in found.values()] == [True, True, True, False]
    assert found["gpu"].nodes == (
        Nodes({"h100": 4}, frozenset({"nvlink", "ib"}), 32000),
        Nodes({"a100": 2, "v100": 1}, frozenset({"ib"}), 64000),
    )
    assert found["short"].nodes == (Nodes({"": 4}, frozenset(), 32000),)
    assert found["cpu"].nodes == (Nodes({}, frozenset(), 192000),)
    assert found["old"].nodes[0].gpus == {"k80": 8}


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ({}, {}),
        ({"gpus": 4, "gpu_model": "h100", "constraint": "nvlink&ib*2", "minutes": 1440, "mem_mb": 64000}, {}),
        ({"partition": "cpu", "gpus": 0, "account": "physics", "qos": "long", "minutes": 100_000}, {}),
        ({"partition": "gpus"}, {"partition": ("'gpus'", "cpu, gpu, old, short", "did you mean 'gpu'?")}),
        ({"partition": "old"}, {"partition": ("'old', which is down", "a partition that is up", "")}),
        ({"gpus": 5}, {"gpus": ("5", "at most 4, which a node has in partition gpu", "")}),
        ({"gpus": 3, "gpu_model": "a100"}, {"gpus": ("3", "at most 2, which a node has in partition gpu", "")}),
        (
            {"partition": "cpu"},
            {
                "gpus": (
                    "1",
                    "at most 0, which a node has in partition cpu",
                    "name another partition, or `gpus: 0` with `device: cpu` in config/config.yaml",
                )
            },
        ),
        (
            {"gpu_model": "h10"},
            {"gpu_model": ("'h10'", "a100, h100, v100 in partition gpu", "did you mean 'h100'?")},
        ),
        ({"constraint": "[nvlink|sxm]"}, {"constraint": ("'sxm'", "ib, nvlink in partition gpu", "")}),
        ({"partition": "short", "minutes": 31}, {"minutes": ("31", "at most 30 in partition short", "")}),
        ({"mem_mb": 64001}, {"mem_mb": ("64001", "at most 64000, which a node has in partition gpu", "")}),
        ({"account": "phisics"}, {"account": ("'phisics'", "yours: maths, physics", "did you mean 'physics'?")}),
        ({"qos": "lon"}, {"qos": ("'lon'", "long, normal", "did you mean 'long'?")}),
        ({"account": "maths", "qos": "long"}, {"qos": ("'long'", "normal", "")}),
        ({"extra": "--reservation=mine --exclude=node1,node2"}, {}),
        (
            {"extra": "--reservation=mine --mem=3 -o x"},
            {
                "extra": (
                    "'--reservation=mine --mem=3 -o x'",
                    "no memory or output file",
                    "use the other keys; the rest is set for every job",
                )
            },
        ),
        (
            {"extra": "--exclude='node1"},
            {"extra": ('"--exclude=\'node1"', "what a shell can read (No closing quotation)", "")},
        ),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(site: dict, told: dict[str, tuple[str, str, str]]) -> None:
    found = mistakes_of_site(Site(**site), OFFER)
    assert {mistake.where: (mistake.given, mistake.allowed, mistake.remedy) for mistake in found} == told


def test_all_mistakes_are_told_together() -> None:
    site = Site(partition="short", gpus=9, minutes=99, mem_mb=10**6, account="none")
    assert [m.where for m in mistakes_of_site(site, OFFER)] == ["gpus", "minutes", "mem_mb", "account"]


def test_a_cluster_without_accounts_and_without_a_default() -> None:
    offer = Offer(read_partitions(ROWS[2:]), None)
    (no_default,) = mistakes_of_site(Site(), offer)
    assert no_default.allowed == "cpu, old, short"
    (no_account,) = mistakes_of_site(Site(partition="short", account="mine"), offer)
    assert no_account.remedy == "leave it out"


def test_a_site_becomes_resources() -> None:
    asked = Site(partition="gpu", account="123", gpu_model="h100")
    assert asked.resources == {"slurm_partition": "'gpu'", "slurm_account": "'123'"}
    assert asked.gpu == {"gpu": 1, "gpu_model": "'h100'"}
    assert Site(gpus=0, gpu_model="h100").gpu == {}


def test_a_site_that_is_not_there_wishes_nothing(tmp_path: Path) -> None:
    assert read_site(tmp_path / "site.yaml") == Site()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partitoin: gpu", r"line 1, partitoin\n .*unknown key 'partitoin'\n(.|\n)*did you mean 'partition'"),
        ("gpus: 1\ngpus: 2", "gpus"),
        ("gpus: -1", "line 1, gpus"),
        ("account: 123", r"account(.|\n)*needs quotes"),
        ("- gpu", "a mapping with the keys account"),
    ],
)
def test_mistakes_in_the_file_name_their_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=told):
        read_site(path)


def test_the_site_of_this_checkout_is_one_that_any_cluster_with_gpus_has() -> None:
    assert read_site(Path(__file__).parents[2] / "config/site.yaml") == Site()


def _command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_slurm_is_asked_by_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    rows = "\\n".join(ROWS)
    _command(tmp_path, "sinfo", f'printf "%b" "{rows}"')
    _command(tmp_path, "sacctmgr", "printf 'physics|normal\\nmaths|normal\\nphysics|long\\n'")
    assert ask_slurm() == OFFER
    _command(tmp_path, "sacctmgr", "echo no accounting >&2; exit 1")
    assert ask_slurm() == Offer(OFFER.partitions, None)
    _command(tmp_path, "sinfo", "echo 'no controller' >&2; exit 1")
    with pytest.raises(StepscapeError, match=r"does not answer: sinfo ended with status 1\nno controller"):
        ask_slurm()
    _command(tmp_path, "sinfo", "exec /bin/sleep 10")
    monkeypatch.setattr(slurm, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(StepscapeError, match="said nothing"):
        ask_slurm()


def test_without_slurm_the_profile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="no SLURM here"):
        profile.read()


@pytest.mark.parametrize(("attempt", "minutes", "memory"), [(1, 8, 12000), (2, 16, 24000), (3, 30, 32000)])
def test_retries_ask_for_more_but_never_for_more_than_there_is(attempt: int, minutes: int, memory: int) -> None:
    asked = profile.Profile(Site(partition="short", minutes=8, mem_mb=12000), OFFER.partitions["short"]).training
    assert eval(asked["runtime"], {"attempt": attempt}) == minutes
    assert eval(asked["mem_mb"], {"attempt": attempt}) == memory
    assert asked["gpu"] == 1


def test_what_a_site_leaves_open_is_asked_of_the_costs() -> None:
    asked = profile.Profile(Site(gpus=0), OFFER.partitions["cpu"]).training
    names = {"attempt": 1, "wildcards": SimpleNamespace(pack="0" * 16)}
    assert (eval(asked["runtime"], names), eval(asked["mem_mb"], names)) == (10, 2000)
    assert set(asked) == {"runtime", "mem_mb", "slurm_extra"}


def test_the_comment_of_a_job_that_trains_names_the_first_study_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_latest", [])
    first, second = (make_study(tmp_path / name) for name in ("one", "two"))
    second = dataclasses.replace(second, name="later")
    plan = make_plan([first, second])
    jobs.announce(plan, Paths(tmp_path / "results"))
    pack = plan.packs[0].id
    names = {"attempt": 1, "wildcards": SimpleNamespace(pack=pack)}
    asked = profile.Profile(Site(extra="--reservation=mine"), OFFER.partitions["gpu"]).training["slurm_extra"]
    assert eval(asked, names) == f"--reservation=mine --comm=rule_train_pack_wildcards_small_{pack}"
    validate_slurm_extra(SimpleNamespace(resources=SimpleNamespace(slurm_extra=eval(asked, names))))

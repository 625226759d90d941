"""A SLURM cluster on this machine: four nodes with four GPUs each, real daemons, nothing outside one folder.

SLURM believes that devices are GPUs and that nodes have more processors than there are; all else is as on a cluster:
jobs are queued, placed, signalled and killed by slurmctld, and each of them sees its own GPU only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

NODES = ("node1", "node2", "node3", "node4")
GPUS = 4
PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins")
CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sacct", "sacctmgr")
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "setpriv")
_FOUND_IN = f"/usr/sbin{os.pathsep}{os.environ.get('PATH', '')}"

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
MinJobAge=3600
KillWait=10
JobRequeue=0
TaskProlog={folder}/prolog
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=2
PropagateResourceLimits=NONE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
"""
_NODE = (
    "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=8 ThreadsPerCore=1 RealMemory=32000 Gres=gpu:h100:{gpus} State=UNKNOWN\n"
)
_PARTITIONS = """\
PartitionName=gpu Nodes={nodes} Default=YES MaxTime=1-00:00:00 DefaultTime=01:00:00 LLN=YES GraceTime=10 State=UP
PartitionName=urgent Nodes={nodes} MaxTime=01:00:00 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=short Nodes={nodes} MaxTime=00:05:00 LLN=YES State=UP
"""


class Start(Protocol):
    """Starts a daemon of the cluster, which ends with it."""

    def __call__(self, command: str, *words: str, user: str = "root") -> None: ...


class Cluster:
    """A running cluster. Made by `cluster`.

    Attributes:
        folder: its configuration, sockets and logs.
        path: where commands of SLURM are that speak with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"

    def ask(self, *words: str) -> str:
        """What a command of SLURM prints."""
        command, *options = words
        done = subprocess.run([self.path / command, *options], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def tried(self, *words: str) -> str | None:
        """What a command of SLURM prints; None if it fails."""
        try:
            return self.ask(*words)
        except RuntimeError:
            return None

    def setting(self, name: str) -> str:
        """A setting of `slurm.conf`."""
        lines = (self.folder / "slurm.conf").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def configure(self, old: str, new: str) -> None:
        """Replaces a line of `slurm.conf`, before slurmctld is started."""
        path = self.folder / "slurm.conf"
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def jobs(self, *states: str) -> dict[str, str]:
        """Job id to comment, of the jobs in these states; of all that are queued or run if none is named."""
        chosen = ["--states", ",".join(states)] if states else []
        rows = self.ask("squeue", "--noheader", "--format", "%i|%k", *chosen).splitlines()
        return dict(row.split("|", 1) for row in rows)

    def detail(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job, by the words of `scontrol show job`."""
        words = self.ask("scontrol", "show", "--oneliner", "--details", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def devices(self) -> dict[str, set[tuple[str, str]]]:
        """Job id to node and CUDA_VISIBLE_DEVICES of its tasks; `none` where that was not set."""
        found: dict[str, set[tuple[str, str]]] = {}
        for line in (self.folder / "tasks").read_text().splitlines():
            job, node, given = line.split()
            found.setdefault(job, set()).add((node, given))
        return found

    def node_states(self) -> dict[str, str]:
        """Node to state."""
        rows = self.ask("sinfo", "--noheader", "--Node", "--format", "%N %t").split()
        return dict(zip(rows[::2], rows[1::2], strict=True))

    def preempt(self, job: str) -> None:
        """Submits a job that needs all processors of the node on which `job` runs, and is more urgent."""
        node = self.detail(job)["NodeList"]
        wish = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 5"]
        self.ask("sbatch", *wish)

    def cancel(self, *jobs: str) -> None:
        """Ends jobs."""
        self.ask("scancel", *jobs)

    def cancel_all(self) -> None:
        """Ends all jobs; returns when none is left."""
        if ids := list(self.jobs()):
            self.cancel(*ids)
            wait_until(lambda: not self.jobs(), 60, "jobs to end")


def what_is_missing(commands: Iterable[str] = COMMANDS, packages: Iterable[str] = PACKAGES) -> str:
    """Why no cluster can be started here; "" if it can."""
    if os.geteuid() != 0:
        return "the fake GPUs of a test cluster are device files, which only root can make"
    missing = [name for name in commands if not shutil.which(name, path=_FOUND_IN)]
    if missing and not shutil.which("apt-get"):
        return f"no {', '.join(missing)} here, and no apt-get to install {', '.join(packages)}"
    return ""


def install(commands: Iterable[str] = COMMANDS, packages: Iterable[str] = PACKAGES) -> None:
    """Installs the packages of SLURM where they are missing, without starting their services."""
    if all(shutil.which(name, path=_FOUND_IN) for name in commands):
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    policy = Path("/usr/sbin/policy-rc.d")
    own = not policy.exists()
    if own:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-qq"], env=env, check=True, stdout=subprocess.DEVNULL)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL)
    finally:
        if own:
            policy.unlink()


@contextmanager
def cluster(before: Callable[[Cluster, Start], None] | None = None) -> Iterator[Cluster]:
    """Four nodes, ready for jobs; gone behind the body, or with this process however it ends.

    Args:
        before: starts what slurmctld needs besides; munge runs by then.

    Yields:
        The cluster.
    """
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name, ExitStack() as stack:  # sockets: short paths
        folder = Path(name)
        folder.chmod(0o755)
        _configure(folder)
        made = Cluster(folder)
        stack.callback(_end_what_jobs_left, made)
        start = _starter(stack, made)
        start("munged", "--foreground", "--force", *_munge_options(folder))
        wait_until((folder / "munge.socket").exists, 20, "munge")
        if before:
            before(made, start)
        start("slurmctld", "-D")
        wait_until(lambda: "UP" in (made.tried("scontrol", "ping") or ""), 30, "slurmctld")
        for node in NODES:
            start("slurmd", "-D", "-N", node)
        wait_until(lambda: set(made.node_states().values()) == {"idle"}, 60, "nodes")
        stack.callback(made.cancel_all)
        yield made


def _starter(stack: ExitStack, made: Cluster) -> Start:
    def start(command: str, *words: str, user: str = "root") -> None:
        log = stack.enter_context((made.folder / f"{command}.out").open("ab"))
        program = shutil.which(command, path=_FOUND_IN)
        assert program, command
        process = subprocess.Popen(
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--pdeathsig", "TERM", program, *words],
            env={**os.environ, "SLURM_CONF": str(made.folder / "slurm.conf")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_end, process)

    return start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_what_jobs_left(made: Cluster) -> None:
    """Without cgroups, a process that left its job's group outlives it; all of them have this cluster in their PATH."""
    mark = f"PATH={made.path}{os.pathsep}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(entry.startswith(mark) for entry in (process / "environ").read_bytes().split(b"\0")):
                os.kill(int(process.name), signal.SIGKILL)


def _munge_options(folder: Path) -> list[str]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    return [*options, f"--log-file={folder / 'munged.log'}", "--num-threads=2"]


def _configure(folder: Path) -> None:
    for name in ("bin", "state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    for name in CLIENTS:  # not by the environment: Snakemake removes all that SLURM sets before it calls srun
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec /usr/bin/{name} "$@"\n')
        script.chmod(0o755)
    prolog = folder / "prolog"  # tells what every task is given, whatever it does
    prolog.write_text(
        f'#!/bin/sh\necho "$SLURM_JOB_ID $SLURMD_NODENAME ${{CUDA_VISIBLE_DEVICES-none}}" >> {folder}/tasks\n'
    )
    prolog.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    for number in range(GPUS):  # device files: of ordinary ones SLURM sets no CUDA_VISIBLE_DEVICES
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    host, ports = socket.gethostname().partition(".")[0], free_ports(1 + len(NODES))
    facts = {"folder": folder, "host": host, "ports": ports}
    nodes = (_NODE.format(node=n, port=p, host=host, gpus=GPUS) for n, p in zip(NODES, ports[1:], strict=True))
    text = _CONFIGURATION.format(**facts) + "".join(nodes) + _PARTITIONS.format(nodes=",".join(NODES))
    (folder / "slurm.conf").write_text(text)
    devices = f"NodeName={','.join(NODES)} Name=gpu Type=h100 File={folder}/gpu[0-{GPUS - 1}]\n"
    (folder / "gres.conf").write_text(devices)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


def wait_until(done: Callable[[], object], seconds: float, what: str) -> None:
    """Returns when `done` says so.

    Raises:
        TimeoutError: it did not within `seconds`; the message names `what` was waited for.
    """
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)

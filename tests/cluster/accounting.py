"""Accounting for the test cluster: a database, slurmdbd, and accounts of the user who runs the tests."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

from tests.cluster.slurm import PACKAGES, Cluster, Start, free_ports, wait_until

ACCOUNTING_PACKAGES = (*PACKAGES, "slurmdbd", "mariadb-server")
ACCOUNTING_COMMANDS = ("slurmdbd", "mariadbd", "mariadb-install-db")

_SLURM = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,qos
"""
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass=test
StorageLoc=accounts
CommunicationParameters=NoInAddrAny
"""
_USER = "create user 'slurm'@'127.0.0.1' identified by 'test'; grant all on accounts.* to 'slurm'@'127.0.0.1';"


def keep_accounts(made: Cluster, start: Start) -> None:
    """Starts the database and slurmdbd; the user may use the accounts physics (also with the QOS long) and maths."""
    dbd, sql = free_ports(2)
    _start_database(made, start, sql)
    host = made.setting("SlurmctldHost").partition("(")[0]
    secrets = made.folder / "slurmdbd.conf"
    secrets.touch(0o600)
    secrets.write_text(_SLURMDBD.format(folder=made.folder, host=host, dbd=dbd, sql=sql))
    made.configure("AccountingStorageType=accounting_storage/none\n", _SLURM.format(folder=made.folder, dbd=dbd))
    start("slurmdbd", "-D")
    wait_until(lambda: made.tried("sacctmgr", "--noheader", "show", "cluster") is not None, 60, "slurmdbd")
    _add(made, "cluster", "test")
    _add(made, "qos", "long")
    for account in ("physics", "maths"):
        _add(made, "account", account, "description=test", "organization=test")
        _add(made, "user", getpass.getuser(), f"account={account}")
    where = [f"user={getpass.getuser()}", "account=physics"]
    made.ask("sacctmgr", "-i", "modify", "user", "where", *where, "set", "qos+=long")


def _add(made: Cluster, *words: str) -> None:
    made.ask("sacctmgr", "-i", "add", *words)


def _start_database(made: Cluster, start: Start, port: int) -> None:
    data = made.folder / "database"
    data.mkdir()
    shutil.chown(data, "mysql", "mysql")
    as_mysql = ["setpriv", "--reuid=mysql", "--regid=mysql", "--init-groups"]
    installing = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
    ]
    subprocess.run([*as_mysql, *installing, "--skip-test-db"], check=True, capture_output=True, timeout=120)
    socket = data / "socket"
    places = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={data}/pid"]
    start("mariadbd", "--no-defaults", *places, "--bind-address=127.0.0.1", f"--port={port}", user="mysql")
    wait_until(lambda: _say(socket, "select 1;"), 60, "the database")
    assert _say(socket, f"create database accounts; {_USER}")


def _say(socket: Path, words: str) -> bool:
    command = ["mariadb", "--no-defaults", "--user=root", f"--socket={socket}", f"--execute={words}"]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

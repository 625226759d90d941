"""Defaults are left out of a run's identity, so a default that changes needs a new version: else old results lie.

`defaults.json` holds the defaults of every version. After adding a field, a member or a version, write it anew from the
root of the checkout: `python -m tests.golden.test_defaults`.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stepscape.registry import KINDS, default, own_members, settings
from stepscape.study.identity import ENGINE_VERSION, plain
from stepscape.study.run import Budget, Run, Start, Stop

FILE = Path(__file__).with_name("defaults.json")
COMMAND = "python -m tests.golden.test_defaults"
REQUIRED = "required"

Versions = dict[str, dict[str, Any]]
"""Version to field to default."""


def defaults_of(cls: Any) -> dict[str, Any]:
    """Each field's default, in terms of JSON."""
    fields = settings(cls).items()
    return {name: REQUIRED if info.is_required() else plain(default(info)) for name, info in fields}


def present() -> dict[str, Versions]:
    """What has defaults, such as `optimizer adam`, with its version and defaults today."""
    found: dict[str, Versions] = {
        f"{kind} {cls.name}": {str(cls.version): defaults_of(cls)} for kind in KINDS for cls in own_members(kind)
    }
    for cls in (Run, Budget, Stop, Start):
        found[f"engine {cls.__name__}"] = {str(ENGINE_VERSION): defaults_of(cls)}
    return found


def faults(recorded: dict[str, Versions], today: dict[str, Versions]) -> list[str]:
    """What changed without a new version, with what to do; missing records apart."""
    told = []
    for name, versions in today.items():
        for version, fields in versions.items():
            before = recorded.get(name, {}).get(version)
            if before is None:
                continue
            for field, held in fields.items():
                if field in before and before[field] != held:
                    told.append(
                        f"{name}: the default of {field} was {before[field]!r} in version {version}, is {held!r}"
                    )
                elif field not in before and held == REQUIRED:
                    told.append(f"{name}: {field} is new in version {version} and has no default")
            told += [f"{name}: {field} is gone from version {version}" for field in before if field not in fields]
        newest = max(map(int, recorded.get(name, {"0": {}})))
        if newest > max(map(int, versions)):
            told.append(f"{name}: version {newest} was there already, and is now {max(map(int, versions))}")
    return [f"{line}. Runs would keep their identity though they change: raise its version." for line in told]


def merged(recorded: dict[str, Versions], today: dict[str, Versions]) -> dict[str, Versions]:
    """The records with what is new today."""
    result = copy.deepcopy(recorded)
    for name, versions in today.items():
        for version, fields in versions.items():
            result.setdefault(name, {}).setdefault(version, {}).update(fields)
    return result


def read() -> dict[str, Versions]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def test_no_default_changed_without_a_new_version() -> None:
    told = faults(read(), present())
    assert not told, "\n".join(told)


def test_all_defaults_are_recorded() -> None:
    today, recorded = present(), read()
    missing = [name for name in today if merged(recorded, {name: today[name]}) != recorded]
    assert not missing, f"not recorded: {', '.join(missing)}; `{COMMAND}` records them"


ADAM: dict[str, Versions] = {"optimizer adam": {"1": {"beta1": 0.9, "eps": 1e-8}}}


@pytest.mark.parametrize(
    ("version", "fields", "told"),
    [
        ("1", {"beta1": 0.9, "eps": 1e-8}, ""),
        ("1", {"beta1": 0.9, "eps": 1e-8, "nesterov": False}, ""),
        ("2", {"beta1": 0.8}, ""),
        ("1", {"beta1": 0.8, "eps": 1e-8}, "the default of beta1 was 0.9 in version 1, is 0.8"),
        ("1", {"beta1": REQUIRED, "eps": 1e-8}, "the default of beta1 was 0.9 in version 1, is 'required'"),
        ("1", {"beta1": 0.9, "eps": 1e-8, "beta3": REQUIRED}, "beta3 is new in version 1 and has no default"),
        ("1", {"beta1": 0.9}, "eps is gone from version 1"),
        ("0", {"beta1": 0.9}, "version 1 was there already, and is now 0"),
    ],
)
def test_what_needs_a_new_version(version: str, fields: dict[str, Any], told: str) -> None:
    found = faults(ADAM, {"optimizer adam": {version: fields}})
    assert len(found) == (1 if told else 0)
    assert all(told in line and "raise its version" in line for line in found)


def test_records_of_older_versions_stay() -> None:
    assert merged(ADAM, {"optimizer adam": {"2": {"beta1": 0.8}}}) == {
        "optimizer adam": {"1": {"beta1": 0.9, "eps": 1e-8}, "2": {"beta1": 0.8}}
    }


def main() -> int:
    """Records what is new; refuses while something changed without a new version."""
    told = faults(read(), present())
    if told:
        print("\n".join(told), file=sys.stderr)
        return 1
    FILE.write_text(json.dumps(merged(read(), present()), indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

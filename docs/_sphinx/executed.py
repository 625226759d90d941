"""Pages whose examples are executed at each build: plain Markdown on GitHub, a notebook for MyST-NB.

A page that begins with `MARK` is read so, in a checkout of its own beside the pages that are built:

- a fence of `python` is a cell;
- a fence of `bash` is shown as it is and run, and a command that fails ends the build;
- a fence whose first line is a comment that is a path, such as `# config/studies/tiny.yaml`, is written to that file,
  and one with `# config/studies/tiny.yaml, continued` is added to it;
- `<!-- alt: ... -->` above a fence is the alternative text of the figure that it draws.

All other fences are only shown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
MARK = "<!-- The examples of this page are executed when the documentation is built. -->\n"

_CHECKOUT = (
    "Snakefile",
    "rules",
    "workflow",
    "config",
    "envs",
    "profiles",
    "slurm",
    "src",
    "tests",
    "docs/members",
    "pyproject.toml",
)
_FENCE = re.compile(
    r"(?:^<!-- alt: (?P<alt>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"(?:#|<!--) (?P<path>[\w./-]+\.\w+)(?P<more>, continued)?(?: -->)?\n")
_BEGIN = """\
import os, sys
os.chdir({folder!r})
os.environ["PYTHONPATH"] = {code!r}
sys.path.insert(0, {code!r})
"""
_WRITE = """\
from pathlib import Path
Path({path!r}).parent.mkdir(parents=True, exist_ok=True)
with open({path!r}, {mode!r}) as file:
    _ = file.write({body!r})
"""
_RUN = """\
import os, subprocess
environment = {{name: value for name, value in os.environ.items() if name != "MPLBACKEND"}}  # which is the kernel's
command = ["bash", "-euo", "pipefail", "-c", {script!r}]
done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(done.stdout, end="")
done.check_returncode()
"""
_HEADER = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python}\n---\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Makes this a Sphinx extension."""
    app.connect("builder-inited", _prepare)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}


def _prepare(app: Sphinx) -> None:
    folder = _examples(app)
    shutil.rmtree(folder, ignore_errors=True)
    profile = folder / "ipython/profile_default"  # nobody's settings change what cells do
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')
    os.environ["IPYTHONDIR"] = str(profile.parent)
    # What cells call: the commands that are installed beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["COLUMNS"] = "96"


def _examples(app: Sphinx) -> Path:
    return Path(app.outdir).parent / "examples"


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if source[0].startswith(MARK):
        source[0] = as_notebook(source[0], lay_out(_examples(app) / page.replace("/", "-")))


def lay_out(folder: Path) -> Path:
    """Copies into a new folder what a reader's checkout has: code, workflow and configuration, and no results."""
    folder.mkdir(parents=True)
    for name in _CHECKOUT:
        source = ROOT / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy2(source, folder / name, follow_symlinks=False)
    return folder


def as_notebook(text: str, folder: Path) -> str:
    """A page as a notebook in MyST, whose kernel works in `folder`."""
    begin = _cell(_BEGIN.format(folder=str(folder), code=str(folder / "src")), tags=["remove-cell"])
    return f"{_HEADER}{begin}\n{_FENCE.sub(_executed, text)}"


def _executed(fence: re.Match[str]) -> str:
    body, language = fence["body"], fence["language"]
    shown = f"```{language}\n{body}```"
    if named := _FILE.match(body):
        write = _WRITE.format(path=named["path"], mode="a" if named["more"] else "w", body=body)
        return f"{shown}\n\n{_cell(write, tags=['remove-cell'])}"
    if language == "bash":
        return f"{shown}\n\n{_cell(_RUN.format(script=body), tags=['remove-input'])}"
    if language == "python":
        return _cell(body, **({"mystnb": {"image": {"alt": fence["alt"]}}} if fence["alt"] else {}))
    return shown


def _cell(code: str, **metadata: Any) -> str:
    header = f"---\n{json.dumps(metadata)}\n---\n" if metadata else ""
    return f"```{{code-cell}} ipython3\n{header}{code}```"

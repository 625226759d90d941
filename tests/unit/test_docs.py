"""How pages become notebooks, and lists of links the table of contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook

from tests.planning import ROOT

sys.path.insert(0, str(ROOT / "docs/_sphinx"))
import contents
import docstrings
import executed

PAGE = f"""\
{executed.MARK}# A page

```yaml
# config/studies/one.yaml
title: 'It''s "one"'
```

```yaml
# config/studies/one.yaml, continued
claims: []
```

```markdown
<!-- config/studies/one.md -->
Found.
```

```bash
cat config/studies/one.yaml | sort
echo "$HOME" >&2
```

<!-- alt: a line: from 0 to 1 -->
```python
total = 1 + 1
```

```toml
[only]
shown = 1
```
"""


def notebook(folder: Path) -> nbformat.NotebookNode:
    return read_myst_markdown_notebook(executed.as_notebook(PAGE, folder))


def code(folder: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook(folder).cells if cell.cell_type == "code"]


def test_a_page_as_its_reader_would_execute_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, object] = {}
    for cell in code(tmp_path):
        exec(cell.source, names)
    one = "# config/studies/one.yaml\ntitle: 'It''s \"one\"'\n# config/studies/one.yaml, continued\nclaims: []\n"
    assert (tmp_path / "config/studies/one.yaml").read_text() == one
    assert (tmp_path / "config/studies/one.md").read_text() == "<!-- config/studies/one.md -->\nFound.\n"
    assert capfd.readouterr().out == "".join(sorted(one.splitlines(keepends=True))) + "home\n"
    assert names["total"] == 2
    assert sys.path[0] == str(tmp_path / "src")


def test_what_is_shown_of_a_page(tmp_path: Path) -> None:
    tags = [cell.metadata.get("tags", []) for cell in code(tmp_path)]
    assert tags == [["remove-cell"]] * 4 + [["remove-input"], []]
    assert code(tmp_path)[-1].metadata["mystnb"] == {"image": {"alt": "a line: from 0 to 1"}}
    shown = "\n".join(cell.source for cell in notebook(tmp_path).cells if cell.cell_type == "markdown")
    for fence in ("```yaml\n# config/studies/one.yaml\n", "```bash\ncat config", "```toml\n[only]\n"):
        assert fence in shown
    assert "alt:" not in shown


def test_a_command_that_fails_ends_the_page(tmp_path: Path) -> None:
    text = executed.as_notebook(f"{executed.MARK}\n```bash\nfalse | cat\necho no\n```\n", tmp_path)
    cell = read_myst_markdown_notebook(text).cells[-1]
    with pytest.raises(subprocess.CalledProcessError):
        exec(cell.source, {})


def test_a_checkout_for_examples_is_all_that_snakemake_needs(tmp_path: Path) -> None:
    folder = executed.lay_out(tmp_path / "page")
    assert {"Snakefile", "rules", "src", "config"} < {path.name for path in folder.iterdir()}
    assert (folder / "profiles/default/config.yaml").is_file()
    assert not (folder / "results").exists()


def test_lists_of_links_are_the_table_of_contents() -> None:
    text = "# Title\n- [early](a.md)\n## Begin\n- [One](one.md): words\n- no link\n## [Page](../up/page.md)\n## Empty\n"
    assert "".join(contents.toctrees(text)) == (
        "\n```{toctree}\n:hidden:\n\nearly <a>\n```\n"
        "\n```{toctree}\n:hidden:\n:caption: Begin\n\nOne <one>\nPage <../up/page>\n```\n"
    )


def test_every_index_is_there() -> None:
    assert all((ROOT / f"{index}.md").is_file() for index in contents.INDEXES)


def test_bars_in_docstrings_are_bars() -> None:
    assert docstrings.escaped("|Hv| of `a | b` and |v|") == r"\|Hv\| of `a | b` and \|v\|"


def test_what_is_returned_has_no_type_of_its_own() -> None:
    lines = ["Args:", "    a: one", "Returns:", "    The sum: of a: and b."]
    assert docstrings.without_return_types(lines) == [*lines[:3], "    The sum – of a: and b."]

"""The README's code runs as it stands."""

import re

from tests.conftest import ROOT


def test_the_steps_in_a_notebook_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## In a notebook") :]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    scope: dict = {}
    exec(code, scope)
    assert set(scope["info"]) == {"g_loss", "g_grad_norm"}

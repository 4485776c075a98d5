"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from docs import generate, generate_api
from tfpipeline import config
from tfpipeline.training.options import TrainingOptions
from tfpipeline.training.run_config import RunConfig

ROOT = Path(__file__).parent.parent


def test_the_page_of_the_run_file_is_that_of_the_schemas():
    assert generate.PAGE.read_text("utf-8") == generate.page(), "renew it: python -m docs.generate"


def test_the_api_page_is_that_of_the_docstrings():
    assert generate_api.PAGE.read_text("utf-8") == generate_api.page(), (
        "renew it: python -m docs.generate_api"
    )


def test_the_api_page_has_every_function_with_its_arguments_and_errors():
    from tfpipeline.serving import client

    text = generate_api.PAGE.read_text("utf-8")
    headings = set(re.findall(r"^### `(\w+)`$", text, re.MULTILINE))
    assert {"convert", "train", "evaluate", "export_run", "serve", "predict", "load"} <= headings
    assert {name for name in client.__all__ if isinstance(getattr(client, name), type)} <= headings
    convert = text.split("### `convert`")[1].split("### ")[0]
    assert "    overwrite: bool = False,\n" in convert
    assert "\n**Raises**\n\n- `UserError`: " in convert


def test_every_run_file_shown_can_be_read(tmp_path):
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown
    whole = [text for text in shown if text.startswith("checkpoint:")]
    parts = [text for text in shown if text not in whole]
    assert whole
    assert parts
    for text in parts:
        assert TrainingOptions(**yaml.safe_load(text)["training"])
    for number, text in enumerate(whole):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        assert config.load(path, RunConfig).training.learning_rate == 3e-5


def test_the_run_file_of_the_tutorial_can_be_read(tmp_path):
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "run.yaml").write_text(shown)
    assert config.load(tmp_path / "run.yaml", RunConfig).output == "tutorial/run"


def test_the_page_of_methods_says_what_they_do(tmp_path):
    """Its run file is that of the example, and the numbers of trained weights are those of the defaults."""
    from tfpipeline.models import BertConfig, peft

    page = (ROOT / "docs" / "peft.md").read_text("utf-8")
    whole, part = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "run.yaml").write_text(whole)
    example = config.load(ROOT / "examples" / "peft" / "run.yaml", RunConfig)
    assert config.load(tmp_path / "run.yaml", RunConfig) == example
    assert config.resolve(yaml.safe_load(part)["peft"], peft.find("lora"), source="the page").ranks
    base = BertConfig(
        vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        max_position_embeddings=512, type_vocab_size=2, hidden_act="gelu_erf", layer_norm_eps=1e-12,
    )  # fmt: skip
    told = {
        name: int(number.replace(",", ""))
        for name, number in re.findall(r"^\| `(\w+)` .* ([\d,]+) \| (?:yes|no) \|$", page, re.MULTILINE)
    }
    assert sorted(told) == peft.names()
    for name, number in told.items():
        trained = peft.attach(base.encoder(uninitialized=True), name).trained
        assert sum(variable.value.shape.num_elements() for variable in trained) == pytest.approx(
            number, rel=0.01
        ), name
    merged = set(re.findall(r"^\| `(\w+)` .* yes \|$", page, re.MULTILINE))
    assert merged == {name for name in peft.names() if peft.find(name).mergeable}


def test_every_run_file_shipped_can_be_read():
    shipped = sorted(ROOT.glob("examples/*/run.yaml"))
    assert shipped
    for path in shipped:
        resolved = config.load(path, RunConfig)
        assert resolved.checkpoint == yaml.safe_load(path.read_text())["checkpoint"]


def test_the_formats_of_the_page_are_those_there_are():
    from tfpipeline.checkpoints import formats

    page = (ROOT / "docs" / "checkpoints.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| yes \| (yes)? *\|$", page, re.MULTILINE)
    written = [name for name in formats.names() if hasattr(formats.find(name), "write")]
    assert sorted(name for name, _ in rows) == formats.names()
    assert sorted(name for name, out in rows if out) == written


def test_every_command_of_the_readme_exists():
    from typer.main import get_command

    from tfpipeline.cli import app

    top = get_command(app).commands
    inside = [command for group in top.values() for command in getattr(group, "commands", {}).values()]
    known = set(top)
    text = "".join(
        (ROOT / page).read_text("utf-8")
        for page in (
            "README.md",
            "docs/checkpoints.md",
            "docs/distributed.md",
            "docs/tutorial.md",
            "docs/adapter-files.md",
        )
    )
    assert {"convert", "train", "evaluate", "export", "serve", "predict"} <= known
    assert set(re.findall(r"\$ tfpipeline ([\w-]+)", text)) <= known
    options = set(re.findall(r"(?<= )--[a-z-]+", " ".join(re.findall(r"[$`] ?tfpipeline [^`\n]*", text))))
    declared = {
        name for command in [*top.values(), *inside] for option in command.params for name in option.opts
    }
    assert options <= declared, options - declared


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    named = {target for page in pages for target in re.findall(r"`make ([a-z]+)`", page.read_text("utf-8"))}
    assert named
    assert named <= targets


def test_the_index_lists_every_page():
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([^)#]+)\)", text))
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    assert pages == {target for target in linked if "/" not in target}
    assert [target for target in linked if not (ROOT / "docs" / target).exists()] == []

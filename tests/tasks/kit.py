"""What every task is held to. A task comes with one sample, ``samples/NAME.yaml``:

task: the run file's section
data: the run file's section, what it has besides the files (optional)
rows: {columns: [...], cells: [[...], ...]}: rows that it can be trained on, all kinds of them
odd: {column: cell}: what is written into other columns of rows whose text is an odd one instead (optional)
refuses_blank_texts: true: rows without a text are refused, so there are none among them (optional)
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests import tiny
from tests.shared import Shared
from tfpipeline import tasks
from tfpipeline.data import Example, read_examples, write_examples
from tfpipeline.data.examples import Lines
from tfpipeline.errors import UserError
from tfpipeline.evaluation import evaluate
from tfpipeline.export import export_run
from tfpipeline.export.explanations import Explanations
from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.models.model_call import ModelCall
from tfpipeline.serving.client import PredictClient, predictions
from tfpipeline.serving.server import EmbeddedServer, make_options
from tfpipeline.tasks.base import EXAMPLE_MASK, EXAMPLE_WEIGHTS
from tfpipeline.training import Run, train
from tfpipeline.training.augmentation import Augmentation
from tfpipeline.training.batching import Batching
from tfpipeline.training.calibration import Collected, calibrate
from tfpipeline.training.confidence import Confidence
from tfpipeline.training.global_batch import WEIGHTS, numeric_targets
from tfpipeline.training.rows import read_targets
from tfpipeline.training.scoring import score_names
from tfpipeline.training.validation import ValidationRows

SAMPLES = Path(__file__).with_name("samples")
ROWS = 60
TEXTS = 400
# One text is longer than any model reads. A megabyte in a cell is read, tokenized and answered in tests of
# those parts.
ODD = ["", "  ", "good " * 4_000, "😀 ﬁ é 你好", "[MASK] [SEP] x", "\u0000\ufffd", 'a "b",\r\nc\u2028']


@dataclass
class Trained:
    """A task's run, its export, and texts to ask; and how often each row was parsed before the first step."""

    run: Run
    exported: Path
    texts: list[str]
    text_pair: list[str] | None
    parsed: Mapping[bytes, int]

    @property
    def asked(self) -> dict[str, np.ndarray]:
        """The texts, as arrays of bytes."""
        pairs = {} if self.text_pair is None else {"text_pair": self.text_pair}
        asked = {"text": self.texts, **pairs}
        return {name: np.array([text.encode() for text in texts], object) for name, texts in asked.items()}

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Their tokens, and of a task that reads them the texts."""
        tokens = self.run.encode(self.texts, self.text_pair, self.run.config.text.max_length)
        return {**tokens, **(self.asked if self.run.task.offsets else {})}

    def answers(self, model: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: tensor.numpy() for name, tensor in graph(self.run, model)(tensors).items()}


def graph(run: Run, model: Any) -> Any:
    """What is asked -> the finished answers."""
    return lambda inputs: run.task.predictions(
        run.task.decode(ModelCall(model, encoder_inputs(inputs))), inputs
    )


def sample(path: Path) -> dict[str, Any]:
    assert path.exists(), f"a task needs a sample for these tests: write {path}, as the others there are"
    return yaml.safe_load(path.read_text("utf-8"))


def text_column(given: Mapping[str, Any]) -> str:
    default = tasks.find(given["task"]["name"]).data_defaults.get("text", "text")
    return str(given.get("data", {}).get("text", default))


def write_run_file(
    folder: Path, given: Mapping[str, Any], rows: int = ROWS, layers: int = 1, **training: Any
) -> Path:
    """The sample's rows over and over, each time with other words beside, odd texts among them, and a run
    file.
    """
    columns, cells = given["rows"]["columns"], given["rows"]["cells"]
    text = columns.index(text_column(given))
    tiny.write_checkpoint(folder / "checkpoint", num_hidden_layers=layers)
    random = np.random.default_rng(0)
    odd = [text for text in ODD if text.strip() or not given.get("refuses_blank_texts")]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, row in enumerate(itertools.islice(itertools.cycle(cells), rows)):
            more = " ".join(random.choice(tiny.FILLER[:7], random.integers(0, 8)))
            written = dict(zip(columns, row))
            if number < len(odd):
                written.update({columns[text]: odd[number], **given.get("odd", {})})
            else:
                written[columns[text]] = f"{row[text]} {more}"
            writer.writerow(written.values())
    settings = {
        "checkpoint": str(folder / "checkpoint"),
        "output": str(folder / "run"),
        "data": {"train": str(folder / "rows.csv"), "split": {"validation": 0.3}, **given.get("data", {})},
        "text": {"max_length": 24},
        "task": given["task"],
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "learning_rate": 0.01,
            **given.get("training", {}),
            **training,
        },
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(settings))
    return path


def build(folder: Path, given: Mapping[str, Any]) -> None:
    """Train and export a sample."""
    with counted_parsing() as parsed:
        run = train(write_run_file(folder, given))
    (folder / "parsed.json").write_text(json.dumps({row.decode(): times for row, times in parsed.items()}))
    export_run(run, folder / "models" / "sample")


def trained(shared: Shared, given: Mapping[str, Any]) -> Trained:
    """What :func:`build` makes of a sample, made once in a session; tests leave it as it is."""
    folder = shared.folder(given["task"]["name"], given, lambda folder: build(folder, given))
    run = Run(folder / "run")
    counted = json.loads((folder / "parsed.json").read_text())
    parsed = Counter({row.encode(): times for row, times in counted.items()})
    texts = [*ODD, *(text for text, _ in tiny.texts(TEXTS - len(ODD), seed=5))]
    pairs = [*reversed(texts)] if run.has_pairs else None
    return Trained(run, folder / "models" / "sample" / "1", texts, pairs, parsed)


@contextlib.contextmanager
def counted_parsing() -> Iterator[Counter[bytes]]:
    """Counts how often each row is parsed before the first step, as if there were more rows than are kept
    parsed.
    """
    counts: Counter[bytes] = Counter()
    example, groups = Lines.example, Batching.groups

    def counted(lines: Lines, number: int) -> Example:
        counts[lines.line(number)] += 1
        return example(lines, number)

    def first_step(*given: Any) -> Any:
        patch.setattr(Lines, "example", example)
        return groups(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfpipeline.data.examples.KEPT_BYTES", 0)
        patch.setattr(Lines, "example", counted)
        patch.setattr(Batching, "groups", first_step)
        yield counts


def check_rows_are_parsed_twice_at_most(trained: Trained) -> None:
    """Between the data file and the first step: once to fit the task or check the row, once to tokenise
    it.
    """
    if trained.run.task.divides:  # once more to divide it; a row that fits stays as it is, and may be shown
        splits = ("train", "validation")
        made = Counter(line for split in splits for line in trained.run.examples(split).raw())
        assert all(times <= 4 * max(1, made[line]) for line, times in trained.parsed.items())
        return
    rows = sum(len(trained.run.examples(split)) for split in ("train", "validation"))
    assert len(trained.parsed) == rows
    times = Counter(trained.parsed.values())
    assert set(times) == {2, 3}
    assert times[3] == 8  # which TensorBoard shows


def check_records_round_trip(trained: Trained, folder: Path) -> None:
    """What a run keeps of a task is all of it."""
    run = trained.run
    again = Run(run.path)
    assert again.task.fitted == run.task.fitted
    assert json.loads(json.dumps(again.task.fitted)) == again.task.fitted
    for split in ("train", "validation"):
        examples = list(run.examples(split))
        write_examples(folder / "rows.jsonl", examples)
        want, got = run.task.targets(examples), again.task.targets(read_examples(folder / "rows.jsonl"))
        assert want.keys() == got.keys()
        for name in want:
            assert len(want[name]) == len(examples)
            np.testing.assert_array_equal(want[name], got[name])
        assert read_targets(run.task, examples, training=True)[1].shape == (len(examples),)
    options: Any = run.config.task
    read = run.truncation.text_tokens(run.has_joint_pairs)
    fitted = options.fit(run.examples("train")).limit_length(read).fitted
    assert fitted == run.task.fitted


def check_batch_is_singles(trained: Trained) -> None:
    """A text's answer does not depend on its neighbours, nor on padding."""
    model, inputs = trained.run.model(), {name: array[:13] for name, array in trained.inputs.items()}
    whole = trained.answers(model, inputs)
    padded = {
        name: np.pad(array, [(0, 0), (0, 7), (0, 0)][: array.ndim]) if array.ndim > 1 else array
        for name, array in inputs.items()
    }
    same(trained.answers(model, padded), whole)
    for row in range(13):
        length = int(inputs["attention_mask"][row].sum())
        one = {name: array[row : row + 1] for name, array in inputs.items()}
        alone = trained.answers(
            model, {name: array[:, :length] if array.ndim > 1 else array for name, array in one.items()}
        )
        same(alone, {name: values[row : row + 1] for name, values in whole.items()})


def check_losses(trained: Trained) -> None:
    """One finite loss an example; every trainable weight of the head gets a gradient."""
    run = trained.run
    examples = list(run.examples("train"))
    batch = run.token_cache("train", examples).batch(np.arange(len(examples)))
    found = {**numeric_targets(run.task.targets(examples)), **batch}
    if run.task.batch_loss:
        found[EXAMPLE_MASK] = np.ones(len(examples), bool)
        found[EXAMPLE_WEIGHTS] = np.ones(len(examples), np.float32)
    targets = {name: tf.constant(array) for name, array in found.items()}
    if run.task.augments:
        batch = {**targets, WEIGHTS: tf.ones(len(examples))}
        targets = Augmentation(run.task, run.tokenizer).train(batch, 0, tf.constant(0))
    model = run.model("initial")
    with tf.GradientTape() as tape:
        outputs = model(encoder_inputs(targets))
        losses = run.task.loss(outputs, targets)
        total = tf.reduce_sum(losses)
    assert losses.shape == (len(examples),)
    assert np.isfinite(losses).all()
    variables = [variable.value for variable in model.head.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        assert np.abs(gradient).max() > 0, variable.name
    best = run.store.state("best")
    assert best["history"][0]["loss"] > 0
    if run.task.batch_loss:  # rows that do not count change no other row's loss
        half = np.arange(len(examples)) % 2 == 0
        marks = {EXAMPLE_MASK: tf.constant(half), EXAMPLE_WEIGHTS: tf.constant(half, tf.float32)}
        some = run.task.loss(outputs, {**targets, **marks})
        alone = run.task.loss(
            {name: value[::2] for name, value in outputs.items()}, {n: t[::2] for n, t in targets.items()}
        )
        np.testing.assert_allclose(some[::2], alone, rtol=1e-5, atol=1e-6)
        return
    one = run.task.loss(
        {name: value[3:4] for name, value in outputs.items()}, {n: t[3:4] for n, t in targets.items()}
    )
    np.testing.assert_allclose(one, losses[3:4], rtol=1e-5, atol=1e-6)


def check_scores(trained: Trained) -> None:
    """Metrics, report and baseline agree on what answers look like."""
    run = trained.run
    report = evaluate(run)
    assert report.metric == run.task.scorer.best_metric
    for entry in report.entries:
        assert np.isfinite(list(entry.scores.values())).all()
        assert run.task.scorer.best_metric in entry.scores or entry not in report.entries[-2:]
        assert entry.table.strip()
    assert run.task.scorer.lower_is_better <= set(report.entries[-1].scores)
    check_intervals(report.entries[-1])
    assert report.text()
    assert (run.path / "report.md").exists()


def check_intervals(entry) -> None:
    """The loss of every task has one; each is of a score, and ordered."""
    assert {"loss"} <= entry.intervals.keys() <= entry.scores.keys()
    for name, (low, high) in entry.intervals.items():
        assert low <= high, name
    low, high = entry.intervals["loss"]
    assert low - 1e-9 <= entry.scores["loss"] <= high + 1e-9


def check_names_of_scores(trained: Trained) -> None:
    """They are known before anything is trained."""
    (entry, *_) = trained.run.store.state("last")["history"]
    assert score_names(trained.run) == [name for name in entry if name not in ("epoch", "step", "train_loss")]


def refuses(ask: Callable[[], object]) -> bool:
    """Whether a task refuses something, in a sentence."""
    try:
        ask()
    except UserError as error:
        return len(str(error).split()) > 5
    return False


def check_confidence(trained: Trained) -> None:
    """A temperature changes how sure answers are and never what they are; the best one is the likeliest."""
    run, task = trained.run, trained.run.task
    if refuses(task.temperatures):
        assert refuses(task.abstains)
        return
    shapes = task.temperatures()
    rows = ValidationRows(run)
    graph = run.graph(run.model(precision="float32"))
    fitted, _, after = calibrate(graph, rows)
    assert {name: t.shape for name, t in fitted.temperatures.items()} == dict(shapes)
    same(
        rows.predict(graph.fitted(Confidence(fitted.temperatures)), "calibrated").predictions,
        after.predictions,
    )

    inputs = {name: tf.constant(array[:200]) for name, array in trained.inputs.items()}
    plain = {name: tensor.numpy() for name, tensor in graph(inputs).items()}
    ties = task.scorer.near_ties(plain, 1e-4)
    assert ties.mean() < 0.2
    for factor in (1.0, 3.0):
        changed = Confidence({name: np.full(shape, factor, np.float32) for name, shape in shapes.items()})
        found = {name: tensor.numpy() for name, tensor in graph.fitted(changed)(inputs).items()}
        floats = [name for name, array in plain.items() if array.dtype == np.float32]
        for name in plain.keys() - set(floats):
            assert found[name][~ties].tolist() == plain[name][~ties].tolist(), name
        moved = [name for name in floats if np.abs(found[name] - plain[name]).max() > 1e-3]
        assert bool(moved) == (factor != 1), moved

    collected = Collected(rows.weights)
    rows.predict(graph, "again", collected)

    def loss(factor: float, name: str, place: tuple[int, ...]) -> float:
        own = {key: np.array(t, np.float64) for key, t in fitted.temperatures.items()}
        own[name][place] *= factor
        total = 0.0
        for batch in collected.batches:
            outputs = task.at_temperatures(
                {
                    key: tf.cast(t, tf.float64) if t.dtype.is_floating else t
                    for key, t in batch.outputs.items()
                },
                {key: tf.constant(t) for key, t in own.items()},
            )
            total += float(tf.reduce_sum(task.likelihood_losses(outputs, batch.targets) * batch.weights))
        return total

    for name, shape in shapes.items():
        for place in list(np.ndindex(*shape))[:2]:
            label = f"{name}[{place[0]}]" if place else name
            if label not in fitted.unfitted:
                assert loss(1, name, place) < min(loss(1.05, name, place), loss(0.95, name, place))
    if refuses(task.abstains):
        return
    names = task.abstains()
    sure = task.confidences(after.predictions)
    right = task.scorer.right(after.predictions, rows.targets)
    assert sure.keys() == right.keys() == set(names)
    for name in names:
        numbers, correct = right[name]
        assert numbers.shape == correct.shape
        assert ((np.asarray(sure[name]) >= 0) & (np.asarray(sure[name]) <= 1)).all()
    half = {name: float(np.median(np.asarray(sure[name]))) for name in names}
    answers = graph.fitted(Confidence(fitted.temperatures, half))(inputs)
    own = task.confidences(answers)
    for name in names:
        assert answers[name].dtype == tf.int32
        assert answers[name].numpy().tolist() == [int(value < half[name]) for value in own[name].numpy()]
    typed = predictions.decode({name: tensor.numpy() for name, tensor in answers.items()})
    assert '"abstained"' in json.dumps([answer.to_dict() for answer in typed])


def check_every_way(trained: Trained) -> None:
    """Eager = compiled = exported = served, over hundreds of texts."""
    run, model, inputs = trained.run, trained.run.model(), trained.inputs
    eager = trained.answers(model, inputs)
    for name, values in eager.items():
        assert len(values) == len(trained.texts), name
        assert values.dtype in (np.dtype(object), np.float32, np.int32), (name, values.dtype)
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    same({name: found.numpy() for name, found in tf.function(graph(run, model))(tensors).items()}, eager)

    signatures = tf.saved_model.load(str(trained.exported)).signatures
    for signature, function in signatures.items():
        if signature == "input_ids" or signature in run.task.signatures():
            continue
        shapes = [tensor.shape for tensor in function.structured_outputs.values()]
        assert all(shape[1:].is_fully_defined() for shape in shapes), (
            shapes
        )  # servers batch what has no other
        answers = function(**{name: tf.constant(texts) for name, texts in trained.asked.items()})
        same(
            {name: tensor.numpy() for name, tensor in answers.items()},
            in_other_units(trained, eager, signature),
        )

    options = make_options(trained.exported.parent, port=0)
    with (
        EmbeddedServer(options, say=lambda sentence: None) as server,
        PredictClient(server.address, model=trained.exported.parent.name) as client,
    ):
        served = client.predict_raw(trained.asked).outputs
        same(served, eager)
        typed = client.predict(trained.texts[:50], trained.text_pair and trained.text_pair[:50])
    here = predictions.decode({name: values[:50] for name, values in eager.items()})
    assert [type(answer) for answer in typed] == [type(answer) for answer in here]
    assert json.dumps([answer.to_dict() for answer in typed])


def check_explanations(trained: Trained) -> None:
    """A task that says that it explains: the words' scores add up to what is explained, in any company."""
    run = trained.run
    if not run.task.explains:
        return
    explain = Explanations(run.graph(run.model()), 128)  # a small model bends more than a large one
    asked = {name: texts[len(ODD) - 4 : len(ODD) + 4] for name, texts in trained.asked.items()}
    rows = len(asked["text"])

    def explained(rows: slice) -> list[Any]:
        some = {name: tf.constant(texts[rows]) for name, texts in asked.items()}
        answers = explain({**some, "label": tf.fill(tf.shape(some["text"]), "")})
        arrays = {name: tensor.numpy() for name, tensor in answers.items()}
        assert all(array.dtype in (object, np.float32, np.int32) for array in arrays.values())
        return predictions.decode(arrays)

    found = explained(slice(None))
    assert any(one.label for one in found)
    for row, one in enumerate(found):
        texts = {name: values[row].decode() for name, values in asked.items()}
        assert [texts[word.source][word.start : word.end] for word in one.words] == [
            w.word for w in one.words
        ]
        assert abs(one.gap) <= 0.01 * abs(one.value - one.baseline) + 1e-3
        if not one.label:
            assert not any(word.score for word in one.words)
    scores = [word.score for one in found for word in one.words]
    assert np.abs(scores).max() > 0
    for row in (0, rows - 1):
        (alone,) = explained(slice(row, row + 1))
        assert alone.label == found[row].label
        np.testing.assert_allclose(
            [word.score for word in alone.words], [w.score for w in found[row].words], rtol=1e-3, atol=1e-4
        )


def in_other_units(
    trained: Trained, answers: Mapping[str, np.ndarray], signature: str
) -> dict[str, np.ndarray]:
    """Answers with their places counted as a signature counts them, one by one."""
    codecs = {"utf8": ("utf-8", 1), "utf16": ("utf-16-le", 2)}
    if signature not in codecs:
        return dict(answers)
    codec, size = codecs[signature]
    found = dict(answers)
    for name, text in trained.run.task.offsets.items():
        texts = trained.texts if text == "text" else trained.text_pair
        found[name] = np.array(
            [
                [
                    place if place < 0 else len(own[:place].encode(codec)) // size
                    for place in np.ravel(places).tolist()
                ]
                for own, places in zip(texts, answers[name])
            ],
            np.int32,
        ).reshape(answers[name].shape)
    return found


def same(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, values in want.items():
        assert got[name].shape == values.shape, name
        if values.dtype == object:
            assert got[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-5, err_msg=name)

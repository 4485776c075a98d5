"""Scores of written texts beside one reference or several: exact match, ROUGE, BLEU, chrF; perplexity.

Exact match and ROUGE (F1) are means over rows, 0 to 1. BLEU and chrF count over all rows together, 0 to 100,
as sacreBLEU gives them. A row of weight 2 counts like two rows, and rows of weight 0 are excluded. Letters in
shapes: N rows, R resamples.

Chinese is scored by characters: ROUGE takes each Han character for a word. If most letters of the references
are Han, BLEU uses sacreBLEU's tokenizer ``zh``, and exact match ignores white space.

Sources: Lin 2004, ROUGE (ACL W04-1013); Post 2018, sacreBLEU (arXiv:1804.08771); Popović 2015, chrF (ACL
W15-3049).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfpipeline.console import plural, progress
from tfpipeline.errors import UserError
from tfpipeline.metrics._words import HAN
from tfpipeline.metrics.intervals import Interval, bootstrap, ratio, wilson

EXACT, BLEU, CHRF, PERPLEXITY = "exact_match", "bleu", "chrf", "perplexity"
ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}  # ours -> rouge-score's name
MEANS = (EXACT, *ROUGE)
BLEU_COUNTS, CHRF_COUNTS = "bleu_counts", "chrf_counts"
COLUMNS = (*MEANS, BLEU_COUNTS, CHRF_COUNTS)  # what :func:`score` returns

_LIBRARIES = {"rouge-score": "rouge_score", "sacrebleu": "sacrebleu"}
_HAN_CHARACTER = re.compile(rf"[{HAN}]")
_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
_BLEU_ORDERS, _CHRF_ORDERS, _RECALL = 4, 6, 4.0  # _RECALL: chrF's beta, 2, squared
_LARGEST = 700.0  # exp() of more is infinite
_SHOWN_ROWS = 1000  # above this, progress is shown

Arrays = Mapping[str, np.ndarray]


def require_libraries() -> None:
    """Check that the libraries are installed that :func:`score` uses, without importing them.

    Raises:
        UserError: one is missing.
    """
    missing = [name for name, module in _LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"texts are scored with {' and '.join(missing)}, which {plural(len(missing), 'is', 'are')} not "
            "installed; install the `generation` extra: pip install 'tfpipeline[generation]'"
        )


def words(text: str) -> list[str]:
    """The words that ROUGE compares: runs of letters and digits in lower case; each Han character is a word.

    For ASCII they are those of rouge-score without a stemmer.
    """
    return _WORD.findall(text.lower())


def score(
    texts: Sequence[str], references: Sequence[Sequence[str]], *, ignore_case: bool = False
) -> dict[str, np.ndarray]:
    """What each row adds to the scores.

    Args:
        texts: N written texts.
        references: the references of each, at least one.
        ignore_case: whether exact match, BLEU and chrF ignore case; ROUGE always does.
    Returns:
        ``exact_match``, ``rouge_1``, ``rouge_2`` and ``rouge_l``, float64 [N], each with its best reference.
        ``bleu_counts``, float64 [N, 10]: the lengths of the text and of the nearest reference in tokens, then
        the matched and all n-grams of the orders 1 to 4. ``chrf_counts``, float64 [N, 18]: the character
        n-grams of the text, of the best reference and of both, for each of the orders 1 to 6.
    """
    chinese = is_chinese([text for gold in references for text in gold])
    found = {EXACT: _exact(texts, references, ignore_case, chinese), **_rouge(texts, references)}
    return {**found, **_counts(texts, references, ignore_case, chinese)}


def compute(rows: Arrays, weights: np.ndarray) -> dict[str, float]:
    """All scores of some rows.

    Args:
        rows: the result of :func:`score`.
        weights: float [N], at least 0, not all 0.
    """
    sums = weights @ _added(rows)
    return {name: float(values[0]) for name, values in _statistics(sums[None]).items()}


def confidence_intervals(rows: Arrays, weights: np.ndarray) -> dict[str, Interval]:
    """95 % intervals of the scores: of exact match by Wilson's formula, of the others by the bootstrap.

    The arguments are those of :func:`compute`.
    """
    counted = weights > 0
    added, weights = _added(rows)[counted], weights[counted]
    found = bootstrap(added * weights[:, None], _statistics)
    share = float(np.average(rows[EXACT][counted], weights=weights))
    return {**found, EXACT: wilson(share, int(counted.sum()))}


def row_scores(chrf_counts: np.ndarray) -> np.ndarray:
    """The chrF of each row by itself, 0 to 100, float64 [N]; ``chrf_counts`` are those of :func:`score`."""
    return _chrf(chrf_counts)


def perplexity(losses: np.ndarray, tokens: np.ndarray, weights: np.ndarray) -> float:
    """e to the mean loss of a token; NaN without a token.

    Args:
        losses: float [N], the negative log-likelihoods of a row's tokens, added up.
        tokens: [N], the number of tokens.
        weights: float [N].
    """
    return float(_perplexity(weights @ np.stack([losses, tokens], axis=1))["perplexity"])


def perplexity_interval(losses: np.ndarray, tokens: np.ndarray, weights: np.ndarray) -> dict[str, Interval]:
    """The 95 % interval of the :func:`perplexity` by the bootstrap, by its name; empty without a token."""
    counted = weights > 0
    added = np.stack([losses, tokens], axis=1).astype(np.float64)[counted] * weights[counted, None]
    return bootstrap(added, _perplexity)


def is_chinese(texts: Sequence[str]) -> bool:
    """Whether most letters of the texts are Han characters."""
    letters = han = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        han += len(_HAN_CHARACTER.findall(text))
    return 2 * han > letters


class _Words:
    """The tokenizer that rouge-score calls."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _exact(
    texts: Sequence[str], references: Sequence[Sequence[str]], ignore_case: bool, chinese: bool
) -> np.ndarray:
    """Whether a text equals a reference up to white space, float64 [N]."""
    blank = "" if chinese else " "

    def folded(text: str) -> str:
        return blank.join(_cased(text, ignore_case).split())

    return np.array(
        [float(folded(text) in map(folded, gold)) for text, gold in zip(texts, references)], np.float64
    )


def _rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE.values()), tokenizer=_Words())
    found = {name: np.zeros(len(texts)) for name in ROUGE}

    def score_row(row: int) -> None:
        best = scorer.score_multi(references[row], texts[row])
        for name, theirs in ROUGE.items():
            found[name][row] = best[theirs].fmeasure

    if len(texts) <= _SHOWN_ROWS:
        for row in range(len(texts)):
            score_row(row)
        return found
    with progress("scores of the texts", len(texts)) as bar:
        for row in range(len(texts)):
            score_row(row)
            bar.advance()
    return found


def _counts(
    texts: Sequence[str], references: Sequence[Sequence[str]], ignore_case: bool, chinese: bool
) -> dict[str, np.ndarray]:
    """The counts that BLEU and chrF are made of, by sacreBLEU."""
    from sacrebleu import metrics

    tokenize = "zh" if chinese else "13a"
    most = max(map(len, references), default=0)
    texts = [_cased(text, ignore_case) for text in texts]
    # One list for the first references of all rows, one for the second ones, and so on.
    aligned = [
        [_cased(gold[number], ignore_case) if number < len(gold) else None for gold in references]
        for number in range(most)
    ]
    found = {}
    # `force`: no advice about texts that look tokenized.
    libraries = (
        (BLEU_COUNTS, metrics.BLEU(tokenize=tokenize, force=True), 2 + 2 * _BLEU_ORDERS),
        (CHRF_COUNTS, metrics.CHRF(), 3 * _CHRF_ORDERS),
    )
    for name, metric, columns in libraries:
        # The counts of single rows, whose sums all scores follow from, have no public name.
        counts = metric._extract_corpus_statistics(texts, aligned) if len(texts) else []
        found[name] = np.array(counts, np.float64).reshape(len(texts), columns)
    return found


def _cased(text: str, ignore_case: bool) -> str:
    return text.lower() if ignore_case else text


def _added(rows: Arrays) -> np.ndarray:
    """What each row adds to the sums that all scores follow from, float64 [N, K]."""
    means = np.stack([np.ones(len(rows[EXACT])), *(rows[name] for name in MEANS)], axis=1)
    return np.concatenate([means, rows[BLEU_COUNTS], rows[CHRF_COUNTS]], axis=1)


def _statistics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The scores [R] of sums [R, K]."""
    bleu = 1 + len(MEANS)
    chrf = bleu + 2 + 2 * _BLEU_ORDERS
    means = {name: ratio(sums[:, place], sums[:, 0], np.nan) for place, name in enumerate(MEANS, 1)}
    return {**means, BLEU: _bleu(sums[:, bleu:chrf]), CHRF: _chrf(sums[:, chrf:])}


def _bleu(counts: np.ndarray) -> np.ndarray:
    """BLEU of counts [R, 10], with sacreBLEU's smoothing (``exp``): [R]."""
    written, wanted = counts[:, 0], counts[:, 1]
    matched, every = np.split(counts[:, 2:], 2, axis=1)
    missing = matched <= 0
    smoothed = np.where(missing, 0.5 ** missing.cumsum(axis=1), matched)
    precisions = ratio(smoothed, every)
    with np.errstate(divide="ignore"):
        logs = np.log(precisions).mean(axis=1)
    brevity = np.minimum(0.0, 1 - ratio(wanted, written, np.inf))
    return 100 * np.where(missing.all(axis=1), 0.0, np.exp(brevity + logs))


def _chrf(counts: np.ndarray) -> np.ndarray:
    """chrF of counts [R, 18]: [R]."""
    written, wanted, matched = np.moveaxis(counts.reshape(-1, _CHRF_ORDERS, 3), 2, 0)
    there = (written > 0) & (wanted > 0)
    orders = there.sum(axis=1)
    precision, recall = (
        ratio(np.where(there, ratio(matched, each), 0.0).sum(axis=1), orders) for each in (written, wanted)
    )
    return 100 * ratio((1 + _RECALL) * precision * recall, _RECALL * precision + recall)


def _perplexity(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The perplexity of sums [..., 2] of losses and tokens."""
    mean = ratio(sums[..., 0], sums[..., 1], np.nan)
    return {PERPLEXITY: np.exp(np.minimum(mean, _LARGEST))}

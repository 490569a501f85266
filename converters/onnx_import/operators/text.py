"""Text that has become numbers."""

from __future__ import annotations

from typing import Any

import torch

from converters.onnx_import.operators import RefusalError, operator


@operator("TfIdfVectorizer")
def tf_idf(node: Any, x: Any) -> Any:
    """How often each n-gram of a vocabulary occurs, also with up to ``max_skip_count`` tokens between its own."""
    pool, starts, places = node.get("pool_int64s"), node.get("ngram_counts"), node.get("ngram_indexes")
    if pool is None:
        raise RefusalError("over strings")
    counts = [
        _occurrences(x, torch.tensor(grams), node.get("max_skip_count") if grams_length > 1 else 0, used)
        for grams_length, grams, used in _grams(pool, starts, node.get("min_gram_length"), node.get("max_gram_length"))
    ]
    # One more that is zero, for places of the result that no n-gram has.
    found = torch.cat([*counts, torch.zeros([*x.shape[:-1], 1], dtype=torch.int64)], -1)
    columns = torch.full((max(places) + 1,), len(places), dtype=torch.int64)
    columns[torch.tensor(places)] = torch.arange(len(places))
    result = torch.index_select(found, -1, columns).to(torch.float32)
    mode, weights = node.get("mode"), node.get("weights")
    if mode == "IDF":
        result = (result > 0).to(torch.float32)
    if mode == "TF" or weights is None:
        return result
    by = torch.ones(max(places) + 1)
    by[torch.tensor(places)] = torch.tensor(weights, dtype=torch.float32)
    return result * by


def _grams(pool: list[int], starts: list[int], least: int, most: int) -> list[tuple[int, list[list[int]], bool]]:
    """Lengths of n-grams, the n-grams, and whether they are looked for; they lie one length after the other."""
    found = []
    for length, (start, end) in enumerate(zip(starts, [*starts[1:], len(pool)], strict=True), 1):
        grams = [pool[place : place + length] for place in range(start, end, length)]
        if grams:
            found.append((length, grams, least <= length <= most))
    return found


def _occurrences(x: Any, grams: Any, skips: int, used: bool) -> Any:
    """Counts, ``(..., grams)``, in data ``(..., tokens)``."""
    length, tokens = grams.shape[1], x.shape[-1]
    total = torch.zeros([*x.shape[:-1], grams.shape[0]], dtype=torch.int64)
    for step in range(1, skips + 2 if used else 1):
        windows = tokens - (length - 1) * step
        if windows < 1:
            break
        same = None
        for place in range(length):
            hit = torch.narrow(x, -1, place * step, windows).unsqueeze(-1) == grams[:, place]
            same = hit if same is None else torch.logical_and(same, hit)
        total = total + same.to(torch.int64).sum(-2)  # type: ignore[union-attr]
    return total

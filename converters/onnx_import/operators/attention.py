"""Attention as ONNX Runtime's optimizer and model builder write it (``com.microsoft``), by torch's own operator.

Shapes: batch ``B``, queries ``S``, keys ``T`` with those of the past, heads ``N``, size of a head ``H``. What goes on
between the heads is ``scaled_dot_product_attention``, which every converter knows how to lower.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import MICROSOFT, RefusalError, operator
from converters.onnx_import.tensors import typed


def heads_of(x: Any, count: int) -> Any:
    """``(B, S, N * H)`` as ``(B, N, S, H)``."""
    return x.reshape(x.shape[0], x.shape[1], count, x.shape[2] // count).transpose(1, 2)


def merged(x: Any) -> Any:
    """``(B, N, S, H)`` as ``(B, S, N * H)``."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def attend(q: Any, k: Any, v: Any, mask: Any, scale: float | None, softcap: float = 0.0) -> Any:
    """Attention of heads.

    Args:
        q: ``(B, N, S, H)``.
        k: Keys, ``(B, N or a divisor of it, T, H)``; fewer heads than queries have are shared by groups.
        v: Values, shaped as the keys.
        mask: What is added to the products, broadcast to ``(B, N, S, T)``, or ``None``.
        scale: Of the products; ``None`` for ``1 / sqrt(H)``.
        softcap: Where the products are squeezed below a limit, the limit.
    """
    groups = q.shape[1] // k.shape[1]
    k, v = (item if groups == 1 else item.repeat_interleave(groups, 1) for item in (k, v))
    if not softcap:
        return nn.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    products = torch.matmul(q, k.transpose(-1, -2)) * (scale or q.shape[-1] ** -0.5)
    products = torch.tanh(products / softcap) * softcap
    return torch.matmul(torch.softmax(products if mask is None else products + mask, -1), v)


def _scale(node: Any) -> float | None:
    """Zero stands for the default in ONNX Runtime."""
    return node.get("scale", 0.0) or None


def _padding(keys: Any, q: Any, total: int) -> Any:
    """Which keys are there, as booleans to broadcast to ``(B, N, S, T)``.

    Args:
        keys: ``(B,)`` ends, ``(2 * B,)`` ends and starts, ``(B, T)`` or ``(B, S, T)`` with zeros for what is not there.
        q: Queries, ``(B, N, S, H)``.
        total: ``T``.
    """
    batch = q.shape[0]
    if keys.dim() in (2, 3):
        return (keys != 0).reshape(keys.shape[0], 1, -1, keys.shape[-1])
    if keys.dim() != 1 or keys.shape[0] not in (batch, 2 * batch):
        raise RefusalError(f"with a mask of shape {list(keys.shape)}")
    places = torch.arange(total)
    there = places < keys[:batch].reshape(-1, 1)
    if keys.shape[0] == 2 * batch:
        there = torch.logical_and(there, places >= keys[batch:].reshape(-1, 1))
    return there.reshape(batch, 1, 1, total)


def _causal(length: int, total: int, window: int = -1) -> Any:
    """Which keys a query may see, ``(S, T)``: those up to its own place, the last query being at the last key."""
    own, places = torch.arange(length).reshape(-1, 1) + (total - length), torch.arange(total)
    seen = places <= own
    return seen if window < 0 else torch.logical_and(seen, places > own - window)


def _mask(node: Any, q: Any, total: int, keys: Any, bias: Any) -> Any:
    """What is added to the products: for keys that are padding, for those ahead, and what the model itself adds."""
    lowest = node.get("mask_filter_value", -10000.0)
    parts = [] if bias is None else [bias]
    if keys is not None:
        parts.append(torch.where(_padding(keys, q, total), 0.0, lowest))
    if node.get("unidirectional", 0):
        parts.append(torch.where(_causal(q.shape[2], total), 0.0, lowest))
    mask = None
    for part in parts:
        mask = part if mask is None else mask + part
    return mask if mask is None else typed(mask, q.dtype)


@operator("Attention", domain=MICROSOFT)
def attention(node: Any, x: Any, weight: Any, bias: Any = None, keys: Any = None, past: Any = None,
              added: Any = None, past_length: Any = None) -> Any:  # fmt: skip
    """One projection to queries, keys and values, and self-attention."""
    if node.get("do_rotary", 0) or node.get("past_present_share_buffer", 0):
        raise RefusalError("with rotary embedding, or past and present in one buffer")
    sizes = node.get("qkv_hidden_sizes") or [weight.shape[1] // 3] * 3
    joined = nn.linear(x, weight.t(), bias)
    q, k, v = (heads_of(item, node.get("num_heads")) for item in torch.split(joined, sizes, -1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    result = merged(attend(q, k, v, _mask(node, q, k.shape[2], keys, added), _scale(node)))
    return (result, torch.stack([k, v])) if node.wanted > 1 else result


@operator("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: Any, query: Any, key: Any = None, value: Any = None, bias: Any = None, keys: Any = None,
                         added: Any = None, past_key: Any = None, past_value: Any = None,
                         *others: Any) -> Any:  # fmt: skip
    """Queries, keys and values apart, or packed by heads."""
    if any(item is not None for item in others) or node.wanted > 3:
        raise RefusalError("with past and present in one buffer, or with its products as an output")
    q, k, v = _unpacked(node, query, key, value, bias)
    if past_key is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    result = merged(attend(q, k, v, _mask(node, q, k.shape[2], keys, added), _scale(node)))
    return (result, k, v) if node.wanted > 1 else result


def _unpacked(node: Any, query: Any, key: Any, value: Any, bias: Any) -> tuple[Any, Any, Any]:
    """Heads of queries, keys and values."""
    count = node.get("num_heads")
    if query.dim() == 5:  # (B, S, N, 3, H)
        query, key, value = (item.flatten(2) for item in torch.unbind(query, 3))
    elif key is not None and key.dim() == 5:  # (B, T, N, 2, H)
        key, value = (item.flatten(2) for item in torch.unbind(key, 3))
    if key is None or value is None:
        raise RefusalError("without keys or values")
    if bias is not None:
        width = query.shape[2]
        query = query + bias[:width]
        if key.dim() == 3:
            key, value = key + bias[width : 2 * width], value + bias[2 * width :]
    q = heads_of(query, count)
    # Keys and values of a cache have their heads in front already.
    return q, *(item if item.dim() == 4 else heads_of(item, count) for item in (key, value))


def _rotated(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """Pairs of numbers turned by angles: RoPE (Su et al. 2021, arXiv 2104.09864).

    Args:
        x: ``(B, N, S, H)``.
        cos: Of the angles, ``(B, S, R / 2)``; what is beyond ``R`` in a head stays.
        sin: Of the same angles.
        interleaved: Whether a pair is two neighbours, or one of each half.
    """
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned = 2 * cos.shape[-1]
    part, rest = x[..., :turned], x[..., turned:]
    if interleaved:
        a, b = torch.unbind(part.unflatten(-1, (turned // 2, 2)), -1)
    else:
        a, b = torch.chunk(part, 2, -1)
    first, second = a * cos - b * sin, b * cos + a * sin
    result = torch.stack([first, second], -1).flatten(-2) if interleaved else torch.cat([first, second], -1)
    return torch.cat([result, rest], -1) if rest.shape[-1] else result


@operator("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(node: Any, x: Any, places: Any, cos: Any, sin: Any) -> Any:
    if node.get("is_packed_batching", 0) or node.get("scale", 1.0) != 1.0:
        raise RefusalError("of packed batches, or scaled")
    count = node.get("num_heads", 0)
    flat = x.dim() == 3
    if flat:
        x = heads_of(x, count or x.shape[2] // (2 * cos.shape[1]))
    if places.dim() == 1:  # of the first in the sequence
        places = (places + torch.arange(x.shape[2])).reshape(1, -1)
    angles = nn.embedding(places, cos), nn.embedding(places, sin)
    result = _rotated(x, *angles, bool(node.get("interleaved", 0)))
    return merged(result) if flat else result


_NOT_GROUPED = ("smooth_softmax", "sliding_window_cache", "qk_output")


@operator("GroupQueryAttention", domain=MICROSOFT, static=(6,), known=(5,))
def group_query_attention(node: Any, query: Any, key: Any, value: Any, past_key: Any, past_value: Any, last: Any,
                          total: Any, cos: Any = None, sin: Any = None, places: Any = None, added: Any = None,
                          *others: Any) -> Any:  # fmt: skip
    """Decoder attention with a cache of keys and values.

    ``last`` is the place of each sample's last token, ``total`` the length of the longest. Where samples differ in
    length, that of the cache is read by sample.
    """
    if any(item is not None for item in others) or any(node.get(name, 0) for name in _NOT_GROUPED):
        raise RefusalError("with sinks, norms, a quantized or windowed cache, or its products as an output")
    count, shared = node.get("num_heads"), node.get("kv_num_heads")
    if key is None:
        size = query.shape[2] // (count + 2 * shared)
        query, key, value = torch.split(query, [count * size, shared * size, shared * size], -1)
    q, k, v = heads_of(query, count), heads_of(key, shared), heads_of(value, shared)
    length, total = q.shape[2], int(total.reshape(-1)[0])
    before = _before(last, length, total)
    if node.get("do_rotary", 0):
        if places is None:
            places = torch.arange(length) + (before if isinstance(before, int) else before.reshape(-1, 1))
        cos, sin = (nn.embedding(places.reshape(-1, length), table) for table in (cos, sin))
        q, k = (_rotated(item, cos, sin, bool(node.get("rotary_interleaved", 0))) for item in (q, k))
    k, v = (_joined(old, new, before, total) for old, new in ((past_key, k), (past_value, v)))
    result = attend(q, k, v, _grouped_mask(node, q, before, k.shape[2], added), _scale(node), node.get("softcap", 0.0))
    return (merged(result), k, v) if node.wanted > 1 else merged(result)


def _before(last: Any, length: int, total: int) -> Any:
    """How many tokens are in the cache: a number where it is the same for all samples, else ``(B,)``."""
    if length == total:
        return 0
    if not isinstance(last, torch.Tensor):
        found = {int(item) + 1 - length for item in last.reshape(-1)}
        if len(found) == 1:
            return found.pop()
        last = torch.from_numpy(last)
    return typed(last.reshape(-1), torch.int64) + 1 - length


def _joined(old: Any, new: Any, before: Any, total: int) -> Any:
    """The cache with new tokens in it, ``(B, N, T, H)``; ``T`` is that of the cache where it has room."""
    if old is None or (isinstance(before, int) and before == old.shape[2]):
        return new if old is None else torch.cat([old, new], 2)
    size, room = max(total, old.shape[2]), old.shape[2]
    places = torch.arange(size).reshape(1, -1)
    start = torch.full((1, 1), before) if isinstance(before, int) else before.reshape(-1, 1)
    # Of the old ones and the new behind them: an old one before the start, a new one from there on.
    ahead = torch.clamp(places - start + room, max=room + new.shape[2] - 1)
    chosen = torch.where(torch.logical_or(places < start, ahead < room), torch.clamp(places, max=room - 1), ahead)
    both = torch.cat([old, new], 2)
    index = chosen.reshape(chosen.shape[0], 1, size, 1).expand(both.shape[0], both.shape[1], size, both.shape[3])
    return torch.gather(both, 2, index)


def _grouped_mask(node: Any, q: Any, before: Any, total: int, added: Any) -> Any:
    own = torch.arange(q.shape[2]).reshape(1, 1, -1, 1)
    own = own + (before if isinstance(before, int) else before.reshape(-1, 1, 1, 1))
    places, window = torch.arange(total), node.get("local_window_size", -1)
    if not node.get("causal", 1):
        raise RefusalError("that looks ahead")
    seen = places <= own
    if window > 0:
        seen = torch.logical_and(seen, places > own - window)
    mask = typed(torch.where(seen, 0.0, -10000.0), q.dtype)
    if added is None:
        return mask
    return mask + nn.pad(added, [0, total - added.shape[-1]])

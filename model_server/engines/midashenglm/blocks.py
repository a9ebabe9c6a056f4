"""The layers of a Qwen2 or Qwen3 decoder as a function of plain tensors.

The weights are those of transformers' model; the forward is written out because
batched decoding needs one that never asks the host anything, launches few kernels
and leaves keys and values to its caller. A test holds it equal to transformers'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
import torch.nn.functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Attend: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""Layer, query (batch, tokens, heads, dim) and, side by side, keys and values (batch,
tokens, 2 * key heads, dim) to what the query attends to, as the query."""


@dataclass(frozen=True)
class Shape:
    """What the keys and values of a decoder are shaped like."""

    layers: int
    heads: int
    key_heads: int
    dim: int
    hidden: int


class _Joined:
    """Several linear layers of one input, as one matrix product where they allow it."""

    def __init__(self, linears: Sequence[nn.Module]) -> None:
        self._linears = tuple(linears)
        plain = [linear for linear in linears if _is_plain(linear)]
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        biased = {getattr(linear, "bias", None) is not None for linear in linears}
        if len(plain) == len(linears) and len(biased) == 1:
            self._weight = _join(plain, "weight")
            self._bias = _join(plain, "bias") if biased.pop() else None

    def __call__(self, hidden: Tensor) -> Tensor:
        if self._weight is None:
            return torch.cat([linear(hidden) for linear in self._linears], -1)
        return F.linear(hidden, self._weight, self._bias)


class _Added:
    """A linear layer whose output is added to a sum, inside its matrix product."""

    def __init__(self, linear: Any) -> None:
        self._linear = linear
        self._plain = _is_plain(linear) and linear.bias is None

    def __call__(self, total: Tensor, hidden: Tensor) -> Tensor:
        """Add to `total`, (…, hidden) and contiguous, which may be overwritten."""
        if not self._plain:
            added: Tensor = total + self._linear(hidden)
            return added
        weight: Tensor = self._linear.weight
        flat = hidden.reshape(-1, weight.shape[1])
        total.view(len(flat), -1).addmm_(flat, weight.T)
        return total


def _is_plain(linear: nn.Module) -> bool:
    """Whether calling it is its weight and bias and nothing else (not quantised)."""
    return type(linear) is nn.Linear and "forward" not in vars(linear)


def _join(linears: Sequence[nn.Module], name: str) -> Tensor:
    """Lay parameters one after the other; the modules keep views of the whole.

    No second copy of a weight stays, and a second decoder over the same model finds
    them joined already.
    """
    parts: list[Tensor] = [getattr(linear, name).detach() for linear in linears]
    place = parts[0].data_ptr()
    storage = parts[0].untyped_storage().data_ptr()
    joined = True
    for part in parts:
        joined &= part.is_contiguous() and part.data_ptr() == place
        joined &= part.untyped_storage().data_ptr() == storage
        place += part.nbytes
    if joined:
        size = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        return parts[0].as_strided(size, parts[0].stride())
    whole = torch.cat(parts)
    start = 0
    for linear, part in zip(linears, parts, strict=True):
        getattr(linear, name).data = whole[start : start + len(part)]
        start += len(part)
    return whole


class _Block:
    """One layer: attention and perceptron, each after a norm and added to its input."""

    def __init__(self, layer: Any, shape: Shape) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._shape = shape
        self._norm = layer.input_layernorm
        self._qkv = _Joined((attention.q_proj, attention.k_proj, attention.v_proj))
        self._query_norm = getattr(attention, "q_norm", None)
        self._key_norm = getattr(attention, "k_norm", None)
        self._output = _Added(attention.o_proj)
        self._mlp_norm = layer.post_attention_layernorm
        self._gate_up = _Joined((mlp.gate_proj, mlp.up_proj))
        self._activation = mlp.act_fn
        self._down = _Added(mlp.down_proj)

    def __call__(
        self, index: int, hidden: Tensor, cos: Tensor, sin: Tensor, attend: Attend
    ) -> Tensor:
        """Transform (batch, tokens, hidden); the input may be overwritten."""
        heads, dim = self._shape.heads, self._shape.dim
        turned = heads + self._shape.key_heads
        batch, tokens, _ = hidden.shape
        qkv = self._qkv(_norm(self._norm, hidden)).view(batch, tokens, -1, dim)
        if self._query_norm is not None and self._key_norm is not None:
            qkv[..., :heads, :] = _norm(self._query_norm, qkv[..., :heads, :])
            qkv[..., heads:turned, :] = _norm(self._key_norm, qkv[..., heads:turned, :])
        # In place: keys and values stay side by side, and are stored at once.
        query_key = qkv[..., :turned, :]
        half = query_key.roll(dim // 2, -1)
        query_key.mul_(cos).addcmul_(half, sin)
        attended = attend(index, qkv[..., :heads, :], qkv[..., heads:, :])
        hidden = self._output(hidden, attended.reshape(batch, tokens, -1))
        gate, up = self._gate_up(_norm(self._mlp_norm, hidden)).chunk(2, -1)
        return self._down(hidden, self._activation(gate) * up)


def _norm(norm: Any, hidden: Tensor) -> Tensor:
    weight: Tensor = norm.weight
    return F.rms_norm(hidden, weight.shape, weight, norm.variance_epsilon)


class Blocks:
    """All layers of one decoder, its embeddings and its head; `positions` it may see."""

    shape: Shape

    def __init__(self, model: PreTrainedModel, positions: int) -> None:
        """Take the model's weights as they are; it stays usable.

        Raises ValueError for a decoder with sliding windows, or one whose positions
        end before `positions`.
        """
        whole: Any = model
        config, base = whole.config, whole.model
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise ValueError(f"layer_types has {kinds}: only full_attention is served")
        if positions > config.max_position_embeddings:
            raise ValueError(
                f"max_position_embeddings is {config.max_position_embeddings}: "
                f"rows of {positions} tokens are too long"
            )
        heads: int = config.num_attention_heads
        self.shape = Shape(
            layers=len(base.layers),
            heads=heads,
            key_heads=config.num_key_value_heads,
            dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            hidden=config.hidden_size,
        )
        self.embed: nn.Module = base.embed_tokens
        self._blocks = [_Block(layer, self.shape) for layer in base.layers]
        self._norm: nn.Module = base.norm
        self._head: nn.Module = whole.lm_head
        self.dtype: torch.dtype = base.embed_tokens.weight.dtype
        self.device: torch.device = base.embed_tokens.weight.device
        with torch.no_grad():
            cos, sin = base.rotary_emb(
                torch.empty(0, dtype=self.dtype, device=self.device),
                torch.arange(positions, device=self.device)[None],
            )
        # A vector rolled by half its width and multiplied by this is the rotated half
        # times the sine, with the sign where rotating puts it.
        sign = torch.ones_like(sin[0])
        sign[:, : self.shape.dim // 2] = -1
        self._cos, self._sin = cos[0], sin[0] * sign

    def __call__(self, hidden: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Embeddings (batch, tokens, hidden) at positions (batch, tokens) to the same.

        What comes out is not normalised yet: `finish` does that for what is needed.
        """
        cos = self._cos[positions][:, :, None]
        sin = self._sin[positions][:, :, None]
        hidden = hidden.clone(memory_format=torch.contiguous_format)
        for index, block in enumerate(self._blocks):
            hidden = block(index, hidden, cos, sin, attend)
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Normalise hidden states, (…, hidden)."""
        return _norm(self._norm, hidden)

    def logits(self, state: Tensor) -> Tensor:
        """Finished states (…, hidden) to logits (…, vocabulary), in the model's type."""
        scores: Tensor = self._head(state)
        return scores


def attend_fresh(query: Tensor, key_value: Tensor) -> Tensor:
    """Causal attention of tokens over themselves, without a mask; as an `Attend`."""
    key, value = key_value.transpose(1, 2).chunk(2, 1)
    return F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key,
        value,
        is_causal=True,
        enable_gqa=query.shape[2] != key.shape[1],
    ).transpose(1, 2)


def attend_masked(query: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """Attend to where the mask is 0; it is added, (batch, 1, tokens, keys).

    As an `Attend`, with any number of keys. One query token at a time is turned so
    that the heads which share a key become its tokens: then no key is copied, and
    kernels which know masks but not shared heads can be taken.
    """
    batch, tokens, heads, dim = query.shape
    keys, values = key_value.transpose(1, 2).chunk(2, 1)
    key_heads = keys.shape[1]
    share = heads // key_heads
    if tokens == 1:
        return F.scaled_dot_product_attention(
            query.reshape(batch, key_heads, share, dim),
            keys,
            values,
            mask.expand(batch, key_heads, share, -1),
        ).reshape(batch, 1, heads, dim)
    return F.scaled_dot_product_attention(
        query.transpose(1, 2),
        keys.repeat_interleave(share, 1),
        values.repeat_interleave(share, 1),
        mask.expand(batch, heads, -1, -1),
    ).transpose(1, 2)


def additive(keep: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask, True where attended to, into what is added to scores."""
    return torch.zeros_like(keep, dtype=dtype).masked_fill_(~keep, -torch.inf)

"""What a clip costs by arithmetic: operations, bytes and tokens, and a GPU's limits.

Operations are those of matrix products, two for each multiplication with its addition,
as torch's FlopCounterMode counts them; a test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from benchmarks.midashenglm.sizes import LONGEST, PROMPT_AFTER, PROMPT_BEFORE, Sizes

OPERATIONS_PER_S = 790e12
"""bf16 matrix products on an H200, measured on 8192 x 8192 matrices."""

BYTES_PER_S = 4.3e12
"""What an H200's memory gives, measured by copying."""

BYTES = 2
"""Of a weight and of a key's or a value's element: bfloat16."""

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class DecoderWork:
    """What tokens cost in one decoder."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    dim: int
    mlp: int
    words: int

    @property
    def layer_weights(self) -> int:
        """Weights of all layers that multiply."""
        attention = self.hidden * self.dim * (2 * self.heads + 2 * self.key_heads)
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def read_bytes(self) -> int:
        """Bytes that every forward reads: all but the embedding table."""
        biases = self.layers * self.dim * (self.heads + 2 * self.key_heads)
        norms = (2 * self.layers + 1) * self.hidden
        return BYTES * (self.layer_weights + self.hidden * self.words + biases + norms)

    @property
    def bytes(self) -> int:
        """Bytes of all weights, of which the embedding table is as large as the head."""
        return self.read_bytes + BYTES * self.hidden * self.words

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return BYTES * 2 * self.layers * self.key_heads * self.dim

    def forward(self, tokens: int, keys: float, heads: int = 1) -> float:
        """Operations of tokens that see `keys` each on average, and of `heads` logits."""
        attention = 4 * self.layers * self.heads * self.dim * tokens * keys
        return (
            2 * self.layer_weights * tokens
            + attention
            + 2 * self.hidden * self.words * heads
        )

    def prefill(self, tokens: int) -> float:
        """Operations until the first token: each sees itself and those before it."""
        return self.forward(tokens, (tokens + 1) / 2)


@dataclass(frozen=True)
class EncoderWork:
    """What one clip costs in one encoder, with its projector."""

    operations: float
    tokens: int
    weight_bytes: int


def decoder_work(sizes: Sizes) -> DecoderWork:
    """The decoder, which both models share."""
    text = sizes.model.text
    return DecoderWork(
        hidden=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        key_heads=text["num_key_value_heads"],
        dim=text["hidden_size"] // text["num_attention_heads"],
        mlp=text["intermediate_size"],
        words=text["vocab_size"],
    )


def dasheng_work(sizes: Sizes, seconds: float) -> EncoderWork:
    """MiDashengLM's encoder and projector: chunks of 10.08 s, 5 tokens a second."""
    config = sizes.model.encoder
    hidden, factor = sizes.model.text["hidden_size"], sizes.model.subsample_factor
    width, mlp = config.embed_dim, int(config.embed_dim * config.mlp_ratio)
    frames = 1 + int(seconds * SAMPLE_RATE) // config.hop_length
    full, rest = divmod(frames, config.chunk_frames)
    columns = [config.grid[1]] * full + [rest // config.patch_stride[1]]
    chunks = [config.grid[0] * each for each in columns]
    tokens = sum(chunks) // factor
    layer = 4 * width**2 + 2 * width * mlp
    patch = prod(config.patch_size) * width
    attention = sum(4 * config.depth * width * each**2 for each in chunks)
    projector = factor * width * hidden + hidden**2
    return EncoderWork(
        operations=2 * sum(chunks) * (config.depth * layer + patch)
        + attention
        + 2 * tokens * projector,
        tokens=tokens,
        weight_bytes=BYTES * (config.depth * layer + patch + projector),
    )


def omni_work(sizes: Sizes, seconds: float) -> EncoderWork:
    """Qwen2.5-Omni's audio encoder: windows of 2 s, 25 tokens a second."""
    config = sizes.omni_config
    width, mlp = config.d_model, config.encoder_ffn_dim
    frames = int(seconds * SAMPLE_RATE) // 160
    window = 2 * config.n_window
    full, rest = divmod(frames, window)
    # Windows are padded to the longest one before the second convolution halves them.
    inputs = (full + bool(rest)) * (window if full else rest)
    steps = [(window + 1) // 2] * full + [(rest + 1) // 2] * bool(rest)
    layer = 4 * width**2 + 2 * width * mlp
    tokens = ((frames + 1) // 2 - 2) // 2 + 1
    first, second = 3 * config.num_mel_bins * width, 3 * width**2
    attention = sum(4 * config.encoder_layers * width * each**2 for each in steps)
    return EncoderWork(
        operations=2 * inputs * first
        + 2 * ((inputs + 1) // 2) * second
        + 2 * sum(steps) * config.encoder_layers * layer
        + attention
        + 2 * tokens * width * config.output_dim,
        tokens=tokens,
        weight_bytes=BYTES
        * (config.encoder_layers * layer + first + second + width * config.output_dim),
    )


@dataclass(frozen=True)
class Limits:
    """What no program can pass on an H200, for one encoder's clip and its prompt."""

    decoder: DecoderWork
    encoder: EncoderWork

    @property
    def prompt(self) -> int:
        """Tokens before the answer."""
        return PROMPT_BEFORE + self.encoder.tokens + PROMPT_AFTER

    @property
    def first_token_s(self) -> float:
        """Seconds until the first token: encode, then prefill."""
        return _seconds(self.encoder.operations, self.encoder.weight_bytes) + _seconds(
            self.decoder.prefill(self.prompt), self.decoder.read_bytes
        )

    @property
    def tokens_per_s(self) -> float:
        """Tokens of one sequence: each reads all weights."""
        return BYTES_PER_S / self.decoder.read_bytes

    def samples_per_s(self, batch: int, new_tokens: int) -> float:
        """Clips a second, each with an answer of `new_tokens`."""
        encode = _seconds(batch * self.encoder.operations, self.encoder.weight_bytes)
        prefill = _seconds(
            batch * self.decoder.prefill(self.prompt), self.decoder.read_bytes
        )
        keys = self.prompt + new_tokens / 2
        # As for the other stages, attention's few operations wait for their bytes.
        step = _seconds(
            batch * self.decoder.forward(1, 0),
            self.decoder.read_bytes + batch * keys * self.decoder.token_bytes,
        )
        return batch / (encode + prefill + new_tokens * step)


def _seconds(operations: float, weight_bytes: float) -> float:
    return max(operations / OPERATIONS_PER_S, weight_bytes / BYTES_PER_S)


def limits(
    sizes: Sizes, seconds: float, *, omni: bool = False, padded: bool = True
) -> Limits:
    """An H200's limits for a clip; only the baseline is ever padded, to 30 s."""
    if omni:
        encoder = omni_work(sizes, LONGEST if padded else seconds)
    else:
        encoder = dasheng_work(sizes, seconds)
    return Limits(decoder_work(sizes), encoder)


def row_bytes(work: DecoderWork, tokens: int) -> int:
    """Bytes that a sequence of up to `tokens` holds in our cache and for its logits.

    The cache rounds a row up to 64 tokens, one more than it may hold.
    """
    capacity = -(-(tokens + 1) // 64) * 64
    return capacity * work.token_bytes + work.words * BYTES


def largest_batch(work: DecoderWork, fixed: float, tokens: int, memory: float) -> int:
    """Sequences that our decoder holds in `memory` bytes, of which `fixed` are taken."""
    # Prefill's activations: 8192 tokens at once, four arrays as wide as the perceptron.
    activations = 8192 * 4 * work.mlp * BYTES
    return int((memory - fixed - activations) // row_bytes(work, tokens))


def largest_batch_in_transformers(
    work: DecoderWork, fixed: float, prompt: int, new_tokens: int, memory: float
) -> int:
    """The same for transformers' generate, which prefills all prompts in one forward.

    Three arrays as wide as the perceptron live at once there, and a step copies one
    layer's keys and values to append to them.
    """
    row = (prompt + new_tokens) * work.token_bytes * (1 + 1 / work.layers)
    activations = prompt * (3 * work.mlp + 2 * work.hidden) * BYTES
    return int((memory - fixed) // (row + activations))

"""Log-probabilities of completions given their prompts under a causal language model."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knowtuning.packing import Batch, Layout, Tree, arrange, lay_out

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Logits held at a time (numbers of 4 bytes): vocabularies have up to 260k entries.
_LOGITS = 2**26
_TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 0.05, "bfloat16": 0.3}


def token_logps(model: Any, batch: Batch) -> torch.Tensor:
    """Log-probability of each completion token of a batch, (n,), float32 nats.

    One forward of the decoder; the output head sees the states alone that predict a completion token.
    """
    from knowtuning.head import frozen, frozen_logps

    hidden = predicting_states(model, batch)
    head = model.get_output_embeddings()
    if frozen(head):
        return frozen_logps(head, hidden, batch.labels)
    return _trained_logps(head, hidden, batch.labels, model.config.get_text_config().vocab_size)


def predicting_states(model: Any, batch: Batch, cache: Any = None) -> torch.Tensor:
    """The state that predicts each completion token of a batch, (n, hidden); all tokens go to the cache."""
    states: torch.Tensor = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.positions,
        past_key_values=cache,
        use_cache=cache is not None,
        **_seen(model, batch),
    ).last_hidden_state
    return states[batch.row, batch.source]


def _seen(model: Any, batch: Batch) -> dict[str, Any]:
    """Arguments that tell a model who sees what in a batch."""
    if not batch.groups.numel():
        return {"attention_mask": batch.mask(model.dtype)}
    from knowtuning.attention import Pieces

    # Models hand a mask of four dimensions on as it is; without one they would make one of all pairs.
    return {"attention_mask": batch.input_ids.new_zeros(1, 1, 1, 1), "pieces": Pieces(batch)}


def _trained_logps(head: Any, states: torch.Tensor, targets: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """The same for a head that is trained; large logits are computed again in the backward pass."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def logps(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _log_probability(head(states), targets)

    size = max(1, _LOGITS // vocabulary)
    if len(states) <= size:
        return logps(states, targets)
    parts = zip(torch.split(states, size), torch.split(targets, size), strict=True)
    return torch.cat([checkpoint(logps, *part, use_reentrant=False) for part in parts])


def answer_logps(model: Any) -> None:
    """Teach a causal language model the call `model(logps_of=batch)`, which returns `token_logps`.

    A call of the model itself goes through whatever wraps it (an adapter, distributed training).
    """
    plain = model.forward

    def forward(self: Any, *args: Any, logps_of: Batch | None = None, **kwargs: Any) -> Any:
        return plain(*args, **kwargs) if logps_of is None else token_logps(self, logps_of)

    model.forward = types.MethodType(forward, model)


class Likelihood:
    """Sums log-probabilities of completions.

    `shared` says whether the model computes a tree exactly; where it does not (it takes no block mask or no
    positions, or it rescales its logits), each completion runs with its own prompt. `pieces` says whether it
    does so piece by piece, which takes a model that `fit_attention` has fitted. `window` is the reach of its
    attention in tokens (None: all); trees with a longer context run completion by completion too, since the
    block mask replaces the model's own. bfloat16: whether autocast computes products in it.
    """

    def __init__(self, model: PreTrainedModel, *, bfloat16: bool = False) -> None:
        # transformers types few of its methods.
        self.model: Any = model
        self._even = bfloat16 or _dtype(model) == "bfloat16"
        self.window = attention_window(model.config)
        self.pieces = self._agrees(pieces=True)
        self.shared = self.pieces or self._agrees(pieces=False)

    def shares(self, tree: Tree) -> bool:
        """Whether the completions of `tree` can run behind one prompt."""
        return self.shared and (self.window is None or tree.longest <= self.window)

    def logps(self, trees: Sequence[Tree]) -> list[list[float]]:
        """Summed log-probability of each completion (nats); the trees run together where they can."""
        if all(self.shares(tree) for tree in trees):
            return self._together(trees)
        return [self.one_by_one(tree) for tree in trees]

    def processed(self, trees: Sequence[Tree]) -> int:
        """Tokens that the model processes for `trees`, padding included."""
        if all(self.shares(tree) for tree in trees):
            return self.layout(trees).tokens
        return sum(len(tree.prompt) + len(branch) for tree in trees for branch in tree.branches)

    def one_by_one(self, tree: Tree) -> list[float]:
        """The same by definition: each completion alone behind the prompt, through the whole model."""
        import torch

        sums = []
        for branch in tree.branches:
            ids = torch.tensor([[*tree.prompt, *branch]], device=self.model.device)
            with torch.no_grad():
                logits = self.model(input_ids=ids, use_cache=False).logits[0, len(tree.prompt) - 1 : -1]
            sums.append(_log_probability(logits, ids[0, len(tree.prompt) :]).double().sum().item())
        return sums

    def layout(self, trees: Sequence[Tree]) -> Layout:
        """The layout of `trees` that costs this model least."""
        if self.pieces:
            return Layout.single(trees, even=self._even)
        return arrange(trees, self.model.config.get_text_config().hidden_size)

    def _together(self, trees: Sequence[Tree], layout: Layout | None = None) -> list[list[float]]:
        import torch

        batch = lay_out(trees, layout or self.layout(trees))
        with torch.no_grad():
            values = token_logps(self.model, batch.to(self.model.device)).double().cpu()
        lengths = [len(branch) for tree in trees for branch in tree.branches]
        sums = iter(part.sum().item() for part in torch.split(values, lengths))
        return [[next(sums) for _ in tree.branches] for tree in trees]

    def _agrees(self, *, pieces: bool) -> bool:
        """Whether two small trees in a row give the same sums as their completions one by one.

        Also whether all else stays the same, to the bit, when one completion changes: a weak model may hide
        in its small numbers that its completions see each other.
        """
        from knowtuning.attention import fitted

        if pieces and not fitted(self.model):
            return False
        vocabulary: int = self.model.config.get_text_config().vocab_size
        tokens = [(7 * index + 3) % vocabulary for index in range(20)]
        first = Tree(tuple(tokens[:5]), (tuple(tokens[5:9]), tuple(tokens[9:12]), tuple(tokens[12:15])))
        second = Tree((*tokens[:3], *tokens[15:17]), (tuple(tokens[17:]),))
        other = Tree(first.prompt, (first.branches[0], first.branches[1][::-1], first.branches[2]))
        layout = replace(Layout.of([first, second], [[0, 1]], opening=3), pieces=pieces)
        try:
            together = self._together([first, second], layout)
            changed = self._together([other, second], layout)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return False
        near = tolerance(self.model)
        close = all(
            abs(a - b) <= near * len(branch)
            for tree, sums in zip((first, second), together, strict=True)
            for a, b, branch in zip(sums, self.one_by_one(tree), tree.branches, strict=True)
        )
        return close and together[0][::2] == changed[0][::2] and together[1] == changed[1]


def tolerance(model: Any) -> float:
    """What log-probabilities of a token that a model computes in two ways may differ by (nats)."""
    return _TOLERANCE[_dtype(model)]


def _dtype(model: Any) -> str:
    """The name of the type of a model's weights."""
    return str(model.dtype).removeprefix("torch.")


def attention_window(config: Any) -> int | None:
    """The shortest reach of a model's attention layers (tokens); None where all layers see everything."""
    config = config.get_text_config()
    if getattr(config, "use_sliding_window", True) is False:
        return None
    names = ("sliding_window", "attention_chunk_size", "window_size")
    windows = [getattr(config, name, None) for name in names]
    return min((size for size in windows if isinstance(size, int) and size > 0), default=None)


def _log_probability(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of each target (n,) under logits (n, vocabulary), in float32."""
    from torch.nn.functional import cross_entropy

    return -cross_entropy(logits.float(), targets, reduction="none")

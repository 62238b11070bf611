"""What the published weights hold beyond the network, by name, and what a wrong file lacks.

`graphormer_hand_state_dict.bin` is the state of the authors' training network: it brings BERT's
word, position and token-type embeddings and pooler, a skip path of the graph convolution and
HRNet's ImageNet classifier. None of them is ever used; they are a fifth of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

HIDDEN = (1024, 256, 64)
WORDS, POSITIONS, TOKEN_TYPES = 30522, 512, 2
CLASSES, FEATURES = 1000, 2048
GRAPH_LAYERS = 4
FEW = 3
"""So many missing names are told; the rest is counted."""


def _list_unused() -> dict[str, tuple[int, ...]]:
    unused: dict[str, tuple[int, ...]] = {
        "backbone.classifier.weight": (CLASSES, FEATURES),
        "backbone.classifier.bias": (CLASSES,),
    }
    for number, hidden in enumerate(HIDDEN):
        bert = f"trans_encoder.{number}.bert"
        unused |= {
            f"{bert}.embeddings.word_embeddings.weight": (WORDS, hidden),
            f"{bert}.embeddings.position_embeddings.weight": (POSITIONS, hidden),
            f"{bert}.embeddings.token_type_embeddings.weight": (TOKEN_TYPES, hidden),
            f"{bert}.embeddings.LayerNorm.weight": (hidden,),
            f"{bert}.embeddings.LayerNorm.bias": (hidden,),
            f"{bert}.pooler.dense.weight": (hidden, hidden),
            f"{bert}.pooler.dense.bias": (hidden,),
        }
    last = HIDDEN[-1]
    for layer in range(GRAPH_LAYERS):
        skip = f"trans_encoder.2.bert.encoder.layer.{layer}.graph_conv.skip_conv"
        unused |= {f"{skip}.W": (last, last), f"{skip}.b": (last,)}
    return unused


UNUSED = _list_unused()
"""Names that the published file has and inference does not need -> their shapes."""

TOLERATED = frozenset(f"trans_encoder.{n}.bert.embeddings.position_ids" for n in range(3))
"""Counters that newer versions of transformers save with the embeddings."""


def find_fault(
    needed: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Why a state of names and shapes is not that of the network, one sentence; None if it is."""
    missing = [name for name in needed if name not in given]
    if missing:
        return (
            f"It lacks {_name_some(missing)} of the {len(needed)} arrays of MeshGraphormer's hand "
            "network, so it is another model or an unfinished download."
        )
    strange = [n for n in given if n not in needed and n not in UNUSED and n not in TOLERATED]
    if strange:
        return f"It holds {_name_some(strange)}, which MeshGraphormer's hand network has not."
    for name, shape in needed.items():
        if tuple(given[name]) != tuple(shape):
            return (
                f"Its {name} has the shape {tuple(given[name])} where {tuple(shape)} belongs, so "
                "it is a variant with another backbone or for the body."
            )
    return None


def _name_some(names: Collection[str]) -> str:
    shown = list(names)[:FEW]
    others = len(names) - len(shown)
    return ", ".join(shown) + (f" and {others} more" if others else "")

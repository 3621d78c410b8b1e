"""Packed texts: the features and gradients of padded ones, without their padding."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_train.config import TextTransformerConfig
from clip_train.models.packing import end_positions, pack_texts
from clip_train.models.text import TextTransformer

CONTEXT, END = 12, 49
LENGTHS = {
    "mixed": [3, 7, 5, 12, 2],
    "one text": [4],
    "all of one length": [6, 6, 6],
    "all full": [12, 12],
    "shortest": [2, 2, 12],
}


def tower(dtype=torch.float32):
    torch.manual_seed(0)
    config = TextTransformerConfig(context_length=CONTEXT, vocab_size=50, width=32, layers=3, heads=4)
    return TextTransformer(config, 24).to(dtype)


def ids_of(lengths):
    rows = torch.zeros(len(lengths), CONTEXT, dtype=torch.int32)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(1, END, (length,))
        row[length - 1] = END
    return rows


def padded_features(model, ids):
    """Every block at every token, padding and all."""
    x = model.token_embedding(ids) + model.positional_embedding[: ids.shape[1]]
    x = model.transformer(x, causal=True)[torch.arange(len(ids)), end_positions(ids)]
    return model.ln_final(x) @ model.text_projection


def features_and_gradients(model, features):
    model.zero_grad()
    (features.sin().sum()).backward()
    return features.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_packed_equals_padded_in_features_and_gradients(lengths, dtype, tolerance):
    model, ids = tower(dtype), ids_of(lengths)
    padded, padded_gradients = features_and_gradients(model, padded_features(model, ids))
    for texts in (ids, pack_texts(ids)):
        packed, gradients = features_and_gradients(model, model(texts))
        torch.testing.assert_close(packed, padded, rtol=tolerance, atol=tolerance)
        for name, gradient in gradients.items():
            scale = padded_gradients[name].norm()
            assert (gradient - padded_gradients[name]).norm() <= tolerance * scale + 1e-12, name


def test_a_text_is_the_same_alone_and_among_others():
    model, ids = tower(torch.float64), ids_of([3, 12, 5])
    together = model(ids)
    for row, features in zip(ids, together, strict=True):
        torch.testing.assert_close(model(row[None])[0], features)


def test_bfloat16_is_close():
    model, ids = tower(), ids_of([3, 7, 5, 12])
    with torch.autocast("cpu", torch.bfloat16):
        narrow = model(ids)
    wide = model(ids)
    assert (narrow.float() - wide).norm() < 0.03 * wide.norm()


def test_every_kernel_gives_the_same():
    model, ids = tower(), ids_of([3, 7, 5, 12])
    with sdpa_kernel(SDPBackend.MATH):
        slow = model(ids)
    torch.testing.assert_close(model(ids), slow, rtol=1e-5, atol=1e-5)


def test_a_kernel_for_packed_sequences_is_called_with_their_bounds(monkeypatch):
    """What a GPU's kernel is given, with the formula in its place."""
    from clip_train.models import attention

    def attend(queries, keys, values, query_bounds, key_bounds, most_queries, most_keys, *, window_size=(-1, -1)):
        assert int(query_bounds.diff().max()) == most_queries and int(key_bounds.diff().max()) == most_keys
        out = torch.empty_like(queries)
        for sequence in range(len(key_bounds) - 1):
            of = slice(*query_bounds[sequence : sequence + 2].tolist())
            seen = slice(*key_bounds[sequence : sequence + 2].tolist())
            scores = torch.einsum("qhd,khd->hqk", queries[of], keys[seen]) / queries.shape[-1] ** 0.5
            if window_size == (-1, 0):
                scores = scores.masked_fill(torch.ones_like(scores[0], dtype=torch.bool).triu(1), -torch.inf)
            out[of] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values[seen])
        return out

    model, ids = tower(torch.float64), ids_of([3, 7, 5, 12])
    expected = padded_features(model, ids)
    monkeypatch.setattr(attention, "_packed_attention", lambda device, dtype: attend)
    torch.testing.assert_close(model(ids), expected)


def test_no_texts_give_no_features():
    assert tower()(torch.zeros(0, CONTEXT, dtype=torch.int32)).shape == (0, 24)

"""Packed texts: the features and gradients of padded ones, without their padding."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_train.config import TextTransformerConfig
from clip_train.models import attention, packing
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


@pytest.mark.parametrize("few_shapes", [False, True])
@pytest.mark.parametrize("causal", [{"window_size": (-1, 0)}, {"is_causal": True}], ids=str)
def test_a_kernel_for_packed_sequences_is_called_with_their_bounds(monkeypatch, few_shapes, causal):
    """What a GPU's kernel is given, with the formula in its place."""

    def attend(queries, keys, values, query_bounds, key_bounds, most_queries, most_keys, **told):
        assert int(query_bounds.diff().max()) <= most_queries and int(key_bounds.diff().max()) <= most_keys
        assert int(query_bounds[-1]) == len(queries) and int(key_bounds[-1]) <= len(keys)
        out = torch.empty_like(queries)
        for sequence in range(len(key_bounds) - 1):
            of = slice(*query_bounds[sequence : sequence + 2].tolist())
            seen = slice(*key_bounds[sequence : sequence + 2].tolist())
            scores = torch.einsum("qhd,khd->hqk", queries[of], keys[seen]) / queries.shape[-1] ** 0.5
            if told == causal:
                scores = scores.masked_fill(torch.ones_like(scores[0], dtype=torch.bool).triu(1), -torch.inf)
            else:
                assert not told and most_queries == 1
            out[of] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values[seen])
        return out

    model, ids = tower(), ids_of([3, 7, 5, 12])
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(pack_texts(ids, few_shapes=few_shapes))
        monkeypatch.setattr(attention, "PACKED_ATTENTION", packing.PackedAttention(attend, causal))
        packed = pack_texts(ids, few_shapes=few_shapes)
        assert not packed.packing.has_kernel
        found = model(packed._replace(packing=packed.packing._replace(has_kernel=True)))
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_filling_changes_no_feature_and_no_gradient(lengths):
    model, ids = tower(torch.float64), ids_of(lengths)
    bare, filled = (features_and_gradients(model, model(pack_texts(ids, few_shapes=few))) for few in (False, True))
    torch.testing.assert_close(filled, bare)


def test_batches_of_all_lengths_come_in_few_shapes():
    torch.manual_seed(0)
    shapes, sequences = set(), set()
    for most in range(2, CONTEXT + 1):
        for _ in range(20):
            packed = pack_texts(ids_of(torch.randint(2, most + 1, (64,)).tolist()), few_shapes=True)
            shapes.add(len(packed.ids))
            sequences.add((len(packed.packing.bounds), packed.packing.longest, packed.packing.num_read))
            assert len(packed.ids) == int(packed.packing.bounds[-1])
    assert 3 < len(shapes) <= 32
    assert len(sequences) == 1


def test_blocks_are_called_as_modules_so_that_they_can_be_wrapped():
    model, ids = tower(), ids_of([3, 5])
    called = []
    for number, block in enumerate(model.transformer.blocks[:-1]):
        block.register_forward_hook(lambda *_, number=number: called.append(number))
    model(ids)
    assert called == [0, 1]


def test_no_texts_give_no_features():
    assert tower()(torch.zeros(0, CONTEXT, dtype=torch.int32)).shape == (0, 24)

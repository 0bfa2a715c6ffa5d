"""Vectors from files of other people: each kind of file, and each thing that a file may have wrong."""

import gguf
import numpy as np
import pytest
import torch
from making import make
from safetensors.torch import save_file
from tiny_models import build_language_model

from lofit_cli.errors import UserError
from lofit_cli.exports.vectors import write_control_vector, write_vectors
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.residual_edit import DirectionEdit, DirectionsEdit
from lofit_cli.models.logprobs import answer_logprobs
from lofit_cli.models.packing import TokenSequence

SEQUENCES = [TokenSequence((*range(3, 12), 40, last), 9) for last in (41, 50)]


@pytest.fixture
def lm():
    return build_language_model("llama")


def vector(lm, seed=0):
    return torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(seed))


def scores(lm, edit):
    with edit.attach(lm), torch.no_grad():
        return answer_logprobs(lm, SEQUENCES)


def from_file(lm, file, **settings):
    return make("file", lm, file.parent / f"of-{file.name}", source=str(file), **settings)


def test_a_vector_of_a_layer_is_the_direction_edit(lm, tmp_path):
    expected = scores(lm, DirectionEdit(2 * vector(lm), 1, "all"))
    np.save(tmp_path / "one.npy", vector(lm).numpy())
    np.savez(tmp_path / "one.npz", **{"layer.1.vector": vector(lm).numpy()})
    save_file({"direction.1": vector(lm)}, tmp_path / "one.safetensors")
    for name, settings in (("one.npy", {"layer": 1}), ("one.npz", {}), ("one.safetensors", {})):
        edit = from_file(lm, tmp_path / name, alphas=[2.0], **settings)
        assert isinstance(edit, DirectionEdit)
        assert scores(lm, edit).equal(expected)


def test_what_lofit_exports_comes_back(lm, tmp_path):
    edit = DirectionEdit(vector(lm), 1, "all")
    write_vectors(lm, edit, tmp_path)
    write_control_vector(lm, edit, tmp_path)
    for name in ("vector.safetensors", "control_vector.gguf"):
        assert scores(lm, from_file(lm, tmp_path / name)).equal(scores(lm, edit))
    mask = lm.geometry.every_head() & (torch.arange(12).view(3, 4) % 5 == 0)
    heads = HeadEdit(lm.geometry, mask, torch.randn(3, 8), torch.randn(3, 8))
    (tmp_path / "heads").mkdir()
    write_vectors(lm, heads, tmp_path / "heads")
    back = from_file(lm, tmp_path / "heads" / "vector.safetensors")
    assert back.head_mask.equal(mask)
    assert scores(lm, back).equal(scores(lm, heads))


def test_vectors_of_several_layers_are_added_after_each(lm, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "controlvector")
    for layer in (1, 2):
        writer.add_tensor(f"direction.{layer}", vector(lm, layer).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    edit = from_file(lm, tmp_path / "v.gguf")
    assert isinstance(edit, DirectionsEdit)
    handles = [
        lm.layers[layer].register_forward_hook(
            lambda module, args, output, layer=layer: (
                (output[0] + vector(lm, layer), *output[1:])
                if isinstance(output, tuple)
                else output + vector(lm, layer)
            )
        )
        for layer in (1, 2)
    ]
    with torch.no_grad():
        expected = answer_logprobs(lm, SEQUENCES)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(scores(lm, edit), expected, atol=1e-5, rtol=0)


def test_an_array_of_heads_is_offsets(lm, tmp_path):
    array = np.zeros((3, 4, 8), dtype=np.float32)
    array[1, 2] = 1
    np.save(tmp_path / "heads.npy", array)
    edit = from_file(lm, tmp_path / "heads.npy")
    assert (edit.heads, edit.scale) == ([(1, 2)], None)
    assert edit.offset.detach().eq(1).all()


@pytest.mark.parametrize(
    ("name", "content", "settings", "said"),
    [
        ("v.npy", np.zeros(5, np.float32), {"layer": 1}, r"its vector of layer 1 has shape \(5,\), not \(32,\)"),
        ("v.npy", np.ones(32, np.float32), {}, "say after which layer it is added, with method.layer=LAYER"),
        ("v.npy", np.ones(32, np.float32), {"layer": 9}, "its layer is 9, and this model has layers 0 to 2"),
        ("v.npy", np.full(32, np.nan, np.float32), {"layer": 1}, "numbers that are not finite"),
        ("v.npy", np.array([{}], dtype=object), {"layer": 1}, "it can't be read"),
        ("v.npy", np.ones((1, 1, 1, 1), np.float32), {}, "an array of 4 dimensions"),
        ("v.npy", np.ones((2, 32), np.float32), {"layer": 1}, "method.layer=1 is for one vector without a name"),
        ("v.npy", np.ones((3, 4, 8), np.float32), {"layer": 1}, "and it says its layers; leave that out"),
        ("v.npz", {"layer.1.vector": np.ones(32, np.float32)}, {"layer": 2}, "method.layer=2 is for one vector"),
        (
            "v.npz",
            {"layer.1.vector": np.ones(32, np.float32), "direction.1": np.ones(32, np.float32)},
            {},
            "two vectors of one layer under two names",
        ),
        ("v.npz", {"something": np.ones(32, np.float32)}, {}, "it holds 'something'; allowed: layer.LAYER.vector"),
        ("v.npz", {"layer.0.head.9.offset": np.ones(8, np.float32)}, {}, "layer 0 has heads 0 to 3"),
        ("v.npz", {}, {}, "it holds nothing"),
        ("v.txt", None, {}, "that is no file of vectors; name one of the kind .safetensors"),
        ("v.safetensors", None, {}, "it can't be read"),
    ],
)
def test_what_a_model_has_no_place_for_is_refused(lm, tmp_path, name, content, settings, said):
    file = tmp_path / name
    if isinstance(content, dict):
        np.savez(file, **content)
    elif content is None:
        file.write_text("nothing")
    else:
        np.save(file, content, allow_pickle=True)
    with pytest.raises(UserError, match=said):
        from_file(lm, file, **settings)


def test_a_file_that_is_not_there_is_refused(lm, tmp_path):
    with pytest.raises(UserError, match="there is no such file; name one of the kind"):
        from_file(lm, tmp_path / "nowhere.npy")

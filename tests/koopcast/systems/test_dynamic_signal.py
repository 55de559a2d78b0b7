import math

import numpy as np
import pytest
import torch

from koopcast.systems.dynamic_signal import DynamicSignalSpec


def drawn(system, count, seed=1, **parameters):
    generator = torch.Generator().manual_seed(seed)
    samples = [system.draw(generator, parameters) for _ in range(count)]
    return np.stack([s["image"] for s in samples]), np.stack([s["label"] for s in samples])


def test_the_signal_has_length_1_and_stands_in_one_patch_with_the_sign_of_the_label():
    system = DynamicSignalSpec(noise=1e-9)
    images, labels = drawn(system, 200)
    assert np.linalg.norm(system.signal()) == pytest.approx(1)
    patches = images.reshape(200, 8, 8)
    sizes = np.linalg.norm(patches, axis=2)
    assert np.allclose(np.sort(sizes, axis=1)[:, -2:], [0, 1], atol=1e-7)
    place = sizes.argmax(axis=1)
    assert np.allclose(patches[np.arange(200), place], labels[:, :1] * system.signal(), atol=1e-7)
    assert set(place) == set(range(8))
    assert set(labels[:, 0]) == {-1.0, 1.0}
    assert (labels == labels[:, :1]).all()


def test_the_noise_has_the_stated_size_also_where_it_is_varied():
    system = DynamicSignalSpec(patches=50, patch_size=4)
    for options, size in (({}, 0.25), ({"noise": 2.0}, 2.0)):
        images, _ = drawn(system, 60, **options)
        count = images.size
        # The signal adds 1 to the sum of squares of each image.
        variance = (images**2).mean() - 1 / 200
        assert variance == pytest.approx(size**2, rel=5 * (2 / count) ** 0.5 + 0.02)


def test_the_matched_filter_is_right_as_often_as_its_closed_form_says():
    system = DynamicSignalSpec(noise=0.5)
    images, labels = drawn(system, 1500)
    right = float((system.matched_filter(images) == labels[:, 0]).mean())
    expected = system.matched_filter_accuracy()
    assert right == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 1500) ** 0.5)


def test_the_closed_form_has_its_known_limits():
    # One patch: N(1/σ). No signal to speak of: 1/2. Hardly any noise: 1. More patches: worse.
    one = DynamicSignalSpec(patches=1, noise=0.5).matched_filter_accuracy()
    assert one == pytest.approx(0.5 * (1 + math.erf(2 / math.sqrt(2))), abs=1e-9)
    assert DynamicSignalSpec(noise=1e3).matched_filter_accuracy() == pytest.approx(0.5, abs=1e-3)
    assert DynamicSignalSpec(noise=0.05).matched_filter_accuracy() == pytest.approx(1, abs=1e-9)
    few, many = (DynamicSignalSpec(patches=k, noise=0.5).matched_filter_accuracy() for k in (4, 32))
    assert many < few < one


def test_a_sample_repeats_with_its_stream_and_fits_its_contract():
    system = DynamicSignalSpec(patches=3, patch_size=5)
    first, again = (drawn(system, 1, seed=4) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    info = system.describe()
    assert list(info.variables) == ["image", "label"]
    assert info.shape == first[0][0].shape == (15,)

"""A calibrated metric says what its distances mean, with the numbers that the statistics have."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from analysis.psychometric import Preference
from metric.network.backbones import Backbone
from metric.network.model import PerceptualMetric
from metric.network.preference import preference
from study.errors import UnavailableError


@pytest.mark.parametrize("power", [-2.0, 0.0, 1e-9, 1.0, 2.0, 3.7])
def test_preference_is_the_statistics_own(power):
    """Also where Yeo and Johnson's transform becomes a logarithm on either side (power 0 and 2)."""
    link = Preference(0.3, 0.2, power, 2.5, 0.04, -1.0, 10.0)
    a, b = torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert np.allclose(preference(asdict(link), a, b), link.probability(a, b), rtol=1e-12, atol=0)


def test_preference_is_differentiable():
    link = asdict(Preference(0.3, 0.2, 1.7, 2.5, 0.04, -1.0, 10.0))
    a, b = torch.rand(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: preference(link, x, y), (a, b))


def test_an_uncalibrated_metric_says_what_is_missing():
    metric = PerceptualMetric(Backbone("alex"), [torch.ones(c) for c in Backbone("alex").channels])
    with pytest.raises(UnavailableError, match="votes are needed"):
        metric.preference(torch.ones(1), torch.ones(1))
    metric.calibration = {"preference": None, "jnd": {"threshold": 0.5}}
    assert metric.jnd(torch.ones(1)).item() == 2


def test_preference_has_one_gradient_at_the_centre():
    """The transform's two halves meet there; only one of them passes a gradient."""
    link = asdict(Preference(0.3, 0.2, 1.0, 2.5, 0.0, -1.0, 10.0))
    a = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    preference(link, a, torch.tensor(0.3, dtype=torch.float64)).backward()
    assert a.grad.item() == pytest.approx(2.5 / 0.2 / 4)

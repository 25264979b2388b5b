"""DISTS: differences of structure and of texture in VGG16 features, after Ding et al. 2020.

    d = sum over maps k and their channels c of  alpha_kc (1 - l_kc) + beta_kc (1 - s_kc)
    l = (2 m_x m_y + 1e-6) / (m_x² + m_y² + 1e-6)          m: mean over positions
    s = (2 cov_xy + 1e-6) / (var_x + var_y + 1e-6)         alpha, beta >= 0 and together sum to 1

The maps are the image itself and relu1_2, 2_2, 3_3, 4_3, 5_3 of a VGG16 whose max pooling is replaced by
sqrt(w * x²) with a 3 x 3 Hann window w, which does not alias.

Ding, Ma, Wang, Simoncelli, "Image Quality Assessment: Unifying Structure and Texture Similarity", IEEE TPAMI 2020.
"""

import importlib.util
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from metric.network.backbones import Backbone
from metric.network.model import check_images, check_size
from metric.network.weights import FOLDER_VARIABLE, downloading, load_backbone, package_folder, read_state
from study.errors import InputError

FILES = ("dists_weights.safetensors", "dists_weights.pt")
URL = "https://github.com/photosynthesis-team/piq/releases/download/v0.4.1/dists_weights.pt"
CHANNELS = (3, 64, 128, 256, 512, 512)
EPSILON = 1e-6
SHORT_SIDE = 256  # the authors' code and piq shrink larger images to it: the weights were learned at this scale
SMALLEST = 16  # the last map of smaller images is one position, which has no structure


class DISTS(nn.Module):
    """The network: distances >= 0, 0 for identical images, of images in [0, 1]."""

    alpha: Tensor
    beta: Tensor
    window: Tensor

    def __init__(self, backbone: Backbone, alpha: Tensor, beta: Tensor) -> None:
        """`backbone`: VGG16. `alpha`, `beta`: weights `(1475,)` of the means and of the covariances."""
        super().__init__()
        self.backbone = backbone
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / total)
        self.register_buffer("beta", beta / total)
        window = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("window", (window[:, None] * window)[None, None])

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Distances `(N,)` of images `(N, 3, H, W)`, with finite gradients also where they are identical.

        Raises InputError for other shapes or ranges.
        """
        check_images(reference, distorted, SMALLEST)
        return self.distance(self.maps(reference), self.maps(distorted))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Six maps `(N, C_k, H_k, W_k)`: the images, with at most 256 pixels on the short side, and five features."""
        check_size(images, SMALLEST)
        if min(images.shape[2:]) > SHORT_SIDE:
            factor = SHORT_SIDE / min(images.shape[2:])
            size = [round(factor * side) for side in images.shape[2:]]
            images = interpolate(images, size, mode="bilinear", antialias=True)  # as PIL does for the authors
        # For VGG16 LPIPS's scaling of [-1, 1] is ImageNet's of [0, 1]: (1 - 0.030) / 2 = 0.485, 0.458 / 2 = 0.229.
        x = (2 * images - 1 - self.backbone.shift) / self.backbone.scale
        x = x.contiguous(memory_format=torch.channels_last)
        maps = [images]
        for index, layer in enumerate(self.backbone.features):
            x = self._pool(x) if isinstance(layer, nn.MaxPool2d) else layer(x)
            if index in self.backbone.taps:
                maps.append(x)
        return maps

    def distance(self, reference: list[Tensor], distorted: list[Tensor]) -> Tensor:
        """Distances `(N,)` of two results of `maps`; the reference's may have N = 1."""
        structure, texture = [], []
        for x, y in zip(reference, distorted, strict=True):
            mean_x, mean_y = x.mean(dim=(2, 3), keepdim=True), y.mean(dim=(2, 3), keepdim=True)
            x, y = x - mean_x, y - mean_y
            variances = (x**2).mean(dim=(2, 3)) + (y**2).mean(dim=(2, 3))
            mean_x, mean_y = mean_x[:, :, 0, 0], mean_y[:, :, 0, 0]
            # 1 - l and 1 - s without cancellation, so that identical images are at 0 exactly.
            structure.append((mean_x - mean_y) ** 2 / (mean_x**2 + mean_y**2 + EPSILON))
            texture.append(((x - y) ** 2).mean(dim=(2, 3)) / (variances + EPSILON))
        return torch.cat(structure, dim=1) @ self.alpha + torch.cat(texture, dim=1) @ self.beta

    def _pool(self, x: Tensor) -> Tensor:
        window = self.window.expand(x.shape[1], 1, 3, 3)
        return (conv2d(x**2, window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()  # root of 0: no gradient


def dists(path: Path | None = None) -> DISTS:
    """DISTS with the weights that its authors published, frozen and in evaluation mode.

    alpha and beta come from `path`, else from FILES in the folder that EYETUNE_BACKBONES names, else from the package
    DISTS-pytorch, else from piq's download. Raises InputError.
    """
    state, origin = _find(path)
    wrong = [key for key in ("alpha", "beta") if key not in state or state[key].numel() != sum(CHANNELS)]
    if wrong:
        raise InputError(f"{origin}: not DISTS weights: expected {wrong[0]} with {sum(CHANNELS):,} numbers")
    alpha, beta = (state[key].flatten().float() for key in ("alpha", "beta"))
    backbone = load_backbone("vgg")
    assert isinstance(backbone, Backbone)  # vgg is one of LPIPS's trunks
    return DISTS(backbone, alpha, beta).requires_grad_(False).eval()


def _find(path: Path | None) -> tuple[dict[str, Tensor], str]:
    folder = os.environ.get(FOLDER_VARIABLE)
    local = [Path(folder) / name for name in FILES if (Path(folder) / name).is_file()] if folder else []
    if path is None and local:
        path = local[0]
    elif path is None and importlib.util.find_spec("DISTS_pytorch"):
        path = package_folder("DISTS_pytorch") / "weights.pt"
    return (read_state(path), str(path)) if path else (_download(), URL)


def _download() -> dict[str, Tensor]:
    way_out = f"pip install --no-deps DISTS-pytorch, or put {FILES[0]} into a folder and name it in {FOLDER_VARIABLE}"
    with downloading("the weights of DISTS", way_out):
        return torch.hub.load_state_dict_from_url(URL, map_location="cpu", progress=False, weights_only=True)

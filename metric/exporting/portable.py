"""A metric as a graph that runs without eyetune: a torch.export program (torch alone) and an ONNX model.

The checks of images are not in the graphs: [0, 255] gives numbers without meaning there. What is expected is written
into the files (see `metadata`).
"""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from metric.network.model import PerceptualMetric
from study.errors import UnavailableError

INPUTS, OUTPUT = ("reference", "distorted"), "distance"
AXES = {0: "N", 2: "H", 3: "W"}  # of the images; any of them may change from call to call
SIDE = 224  # pixels, of the images that are traced: what a trunk with a patch of 14, 16 or 32 pixels takes too
DESCRIPTION = "eyetune.json"
"""The name of the description among a torch.export program's extra files."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _Graph(nn.Module):
    """The metric in plain steps: gradients to both images, nothing spared as `PerceptualMetric.forward` does."""

    def __init__(self, metric: PerceptualMetric) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self.metric.distance(self.metric.features(reference), self.metric.features(distorted))


@contextmanager
def _traceable(trunk: str, verb: str) -> Iterator[None]:
    """UnavailableError in one line for whatever a trunk of the user's makes torch's exporters raise."""
    try:
        yield
    except Exception as error:  # there is no common type
        reason = (str(error).strip().splitlines() or [""])[0][:150]
        raise UnavailableError(
            f"torch cannot {verb} the trunk {trunk!r} for images of any size ({type(error).__name__}: {reason})"
        ) from None


def program(metric: PerceptualMetric) -> torch.export.ExportedProgram:
    """The graph of `metric`, for any number and size of images. Raises UnavailableError for an untraceable trunk."""
    side = SIDE * -(-metric.backbone.smallest // SIDE)
    device = metric.heads[0].device
    example = tuple(torch.zeros(2, 3, side, 2 * side, device=device) for _ in INPUTS)
    axes = dict.fromkeys(AXES, torch.export.Dim.DYNAMIC)
    with _traceable(metric.backbone.name, "trace"), torch.enable_grad():  # the graph is to be a loss, wherever made
        traced = torch.export.export(_Graph(metric), example, dynamic_shapes=(axes, axes))
    # The file keeps its example, from which torch makes the checks of shapes; a constant one takes no space.
    traced.example_inputs = (tuple(image.new_zeros(1).expand(image.shape) for image in example), {})
    for module in traced.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for origin in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                node.meta.pop(origin, None)  # paths and lines of this machine
    return traced


def smallest_side(distances: Callable[[Tensor, Tensor], Tensor], metric: PerceptualMetric) -> int:
    """Pixels of the shortest side that a program takes; often a little more than the live metric's, by bisection.

    torch.export does not treat a feature map of one pixel as it treats larger ones, and refuses it in the file.
    """
    too_small, fits = metric.backbone.smallest - 1, SIDE * -(-metric.backbone.smallest // SIDE)
    while fits - too_small > 1:
        side = (too_small + fits) // 2
        try:
            with torch.inference_mode():
                distances(*torch.zeros(2, 1, 3, side, side))
            fits = side
        except (AssertionError, RuntimeError):  # a guard's, or an operation's
            too_small = side
    return fits


def metadata(description: Mapping[str, Any]) -> dict[str, str]:
    """What a graph's file says of itself, as text: what a reader needs at once, and the whole description as JSON."""
    card = description["card"]
    return {
        "name": str(card.get("name", "")),
        "votes": str(card.get("votes", "unknown")),
        "voters": str(card.get("voters", "unknown")),
        "input": f"{description['input']}; not checked here",
        "output": description["output"],
        "eyetune": json.dumps(description),
    }


def to_torch_export(traced: torch.export.ExportedProgram, description: Mapping[str, Any]) -> bytes:
    """A `.pt2` file: `torch.export.load(path).module()` is the metric; `metadata` is its extra file `eyetune.json`.

    Raises UnavailableError where torch cannot write what the trunk does.
    """
    buffer = io.BytesIO()
    with _traceable(description["backbone"], "save"):
        torch.export.save(traced, buffer, extra_files={DESCRIPTION: json.dumps(metadata(description))})
    return buffer.getvalue()


def torch_export_distances(data: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """Distances `(N,)` by the program in `data`."""
    return torch.export.load(io.BytesIO(data)).module()


def check_onnx() -> None:
    """Raise UnavailableError where a package that writes or checks ONNX is not installed."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise UnavailableError(f"needs {', '.join(missing)}: pip install 'eyetune[onnx]'")


def to_onnx(traced: torch.export.ExportedProgram, description: Mapping[str, Any]) -> bytes:
    """An `.onnx` file, weights within: inputs `reference` and `distorted` `(N, 3, H, W)`, output `distance` `(N,)`."""
    check_onnx()
    with warnings.catch_warnings(), _traceable(description["backbone"], "write as ONNX"):
        warnings.simplefilter("ignore")  # the exporter's, of torch's own names
        exported = torch.onnx.export(
            traced, dynamo=True, external_data=False, input_names=INPUTS, output_names=[OUTPUT], verbose=False,
            optimize=False,  # it takes the epsilon of 1e-10 for 0 and drops it: NaN where features are all zero
        )  # fmt: skip
    assert exported is not None
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = AXES[axis]
    del model.graph.value_info[:]  # has the tracer's names of the axes; readers infer it
    for key, text in metadata(description).items():
        model.metadata_props.add(key=key, value=text)
    model.producer_name, model.doc_string = "eyetune", f"{description['input']} -> {description['output']}"
    return model.SerializeToString()


def onnx_distances(data: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """Distances `(N,)` by onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def distances(reference: Tensor, distorted: Tensor) -> Tensor:
        feeds = dict(zip(INPUTS, (reference.numpy(), distorted.numpy()), strict=True))
        return torch.from_numpy(session.run([OUTPUT], feeds)[0])

    return distances

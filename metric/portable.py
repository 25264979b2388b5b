"""A metric as a graph that runs without eyetune: a torch.export program (torch alone) and an ONNX model.

The checks of images are not in the graphs: [0, 255] gives numbers without meaning there. What is expected is written
into the files (see `metadata`).
"""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metric.model import PerceptualMetric
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


def program(metric: PerceptualMetric) -> torch.export.ExportedProgram:
    """The graph of `metric`, for any number and size of images. Raises UnavailableError for an untraceable trunk."""
    side = SIDE * -(-metric.backbone.smallest // SIDE)
    device = metric.heads[0].device
    example = tuple(torch.zeros(2, 3, side, 2 * side, device=device) for _ in INPUTS)
    axes = dict.fromkeys(AXES, torch.export.Dim.DYNAMIC)
    try:
        with torch.enable_grad():  # the graph is to be a loss, wherever it is made
            traced = torch.export.export(_Graph(metric), example, dynamic_shapes=(axes, axes))
    except Exception as error:  # what a trunk of the user's makes torch raise has no common type
        reason = str(error).strip().splitlines()
        raise UnavailableError(
            f"torch.export cannot trace the trunk {metric.backbone.name!r} for images of any size"
            f" ({type(error).__name__}: {reason[0][:150] if reason else ''})"
        ) from None
    for module in traced.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for origin in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                node.meta.pop(origin, None)  # paths and lines of this machine
    return traced


def smallest_side(traced: torch.export.ExportedProgram, metric: PerceptualMetric) -> int:
    """Pixels of the shortest side that the program takes; for some trunks a little more than the live metric's.

    torch.export does not treat a feature map of one pixel as it treats larger ones, and refuses it in the file.
    """
    return max(metric.backbone.smallest, *(int(bounds.lower) for bounds in traced.range_constraints.values()))


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
    """A `.pt2` file: `torch.export.load(path).module()` is the metric; `metadata` is its extra file `eyetune.json`."""
    buffer = io.BytesIO()
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's, of torch's own names
            exported = torch.onnx.export(
                traced, dynamo=True, external_data=False, input_names=INPUTS, output_names=[OUTPUT], verbose=False,
                optimize=False,  # it takes the epsilon of 1e-10 for 0 and drops it: NaN where features are all zero
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:150]
        raise UnavailableError(f"torch has no ONNX form of the trunk {description['backbone']!r} ({reason})") from None
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

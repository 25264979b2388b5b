"""The learned perceptual metric: network, training on votes, scoring, and files to hand out.

`metric.load(path)` returns the `torch.nn.Module` in a file that `eyetune export` wrote. As a loss:

    distance = metric.load("my-study.safetensors").to(device)   # or metric.measures.lpips("alex")
    features = distance.reference(photographs)                  # once, without a graph; features[i:j] are some of them
    decoded = codec(photographs)
    loss = bits_per_pixel + weight * distance(features, decoded).mean()   # or distance(photographs, decoded)
    loss.backward()

Images are float tensors `(N, 3, H, W)` in [0, 1]; `torch.compile` and autocast are safe.
"""

from metric.exporting.exported import load

__all__ = ["load"]

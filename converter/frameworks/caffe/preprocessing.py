"""What becomes of an image before it enters the net: from the data layer's transform_param and the mean file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from converter.errors import ReadError
from converter.frameworks.options import ReadOptions
from converter.graph.model import Preprocessing

from .format import LayerDefinition, read_mean
from .inference import InferenceNet


def read_preprocessing(
    found: InferenceNet, inputs: Mapping[str, tuple[int, ...]], files: Mapping[str, Path], options: ReadOptions
) -> tuple[Preprocessing | None, list[str]]:
    """Preprocessing of the first input that is an image (N, 1 or 3, H, W), and notes; None without such an input.

    Caffe's images are BGR, 0 to 255; the mean is subtracted first.
    """
    image = next((name for name, shape in inputs.items() if len(shape) == 4 and shape[1] in (1, 3)), None)
    if image is None:
        return options.preprocessing(None), []
    layer = found.data[image][0] if image in found.data else None
    mean, notes = _mean(layer, files)
    scale, crop, resize = 1.0, None, None
    if layer is not None:
        message = layer.param("transform_param")
        scale, size = message.get("scale"), message.get("crop_size")
        crop = (size, size) if size else None
        if layer.type == "ImageData":
            sides = layer.param("image_data_param")
            resize = (sides.get("new_height"), sides.get("new_width")) if sides.get("new_height") else None
    channels = "bgr" if inputs[image][1] == 3 else "gray"
    preprocessing = options.preprocessing(Preprocessing(channels, resize, crop, mean, scale))
    if len(preprocessing.mean) not in (0, 1, inputs[image][1]):
        raise ReadError(
            f'the mean has {len(preprocessing.mean)} values, the input "{image}" {inputs[image][1]} channels'
        )
    return preprocessing, notes


def _mean(layer: LayerDefinition | None, files: Mapping[str, Path]) -> tuple[tuple[float, ...], list[str]]:
    """One value per channel: given as a mean file, or named by the data layer."""
    message = layer.param("transform_param") if layer is not None else None
    path = files.get("mean")
    if path is None and message is not None and message.get("mean_file"):
        # Only a file beside the prototxt: the path inside it is of another machine, and not to be trusted.
        path = Path(layer.file).parent / Path(message.get("mean_file").replace("\\", "/")).name
        if not path.is_file():
            return (), [f"the mean file {message.get('mean_file')} is not beside the prototxt: give it, or --mean"]
    if path is None:
        return tuple(message.all("mean_value")) if message is not None else (), []
    image = read_mean(path)
    notes = [f"of the mean image {path.name} the mean of each channel is used"]
    return tuple(float(value) for value in image.mean(axis=(1, 2), dtype="float64")), notes

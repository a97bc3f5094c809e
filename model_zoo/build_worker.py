"""Builds graphs with TensorFlow, in a process of its own.

Run by path with whichever Python has TensorFlow: it imports only that, NumPy, Pillow and the standard library.
One JSON object on standard input:

    {"directory": ..., "seed": 1, "quantised_io": "uint8", "photographs": [...],
     "models": [{"name": "d0", "width": 1.0, "dtype": "fp32"}, ...]}

and one JSON object per line on standard output: `{"event": "ready", "tensorflow": ...}`, then per model
`{"event": "started", "model": ...}` and `{"event": "built", "model": ..., "file": ...}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INPUT_PX = 224
CLASSES = 1001  # ImageNet's 1000 and the background, as in the official models
LOGIT_DEVIATION = 3.0  # gives top scores of some ten per cent, which 8 bits can show


def main() -> None:
    """Build what standard input asks for."""
    order = json.load(sys.stdin)
    # TensorFlow prints on descriptor 1 too; what the caller reads must hold our lines only.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import numpy as np
    import tensorflow as tf

    def answer(event: str, **fields: str) -> None:
        answers.write(json.dumps({"event": event, **fields}) + "\n")

    answer("ready", tensorflow=str(tf.__version__))
    photographs = np.stack([_read_photograph(Path(path)) for path in order["photographs"]])
    io_type = {"uint8": tf.uint8, "int8": tf.int8}[order["quantised_io"]]
    networks: dict[float, Any] = {}
    for model in order["models"]:
        answer("started", model=model["name"])
        width = float(model["width"])
        if width not in networks:
            networks[width] = _network(tf, width, int(order["seed"]), photographs)
        content = _convert(tf, networks[width], model["dtype"], io_type, photographs)
        file = Path(order["directory"]) / f"{model['name']}.tflite"
        file.write_bytes(content)
        answer("built", model=model["name"], file=str(file))


def _read_photograph(path: Path) -> Any:
    """Pixels of one photograph, (224, 224, 3) float32 in [-1, 1]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as photograph:
        photograph.draft("RGB", (INPUT_PX, INPUT_PX))
        pixels = photograph.convert("RGB").resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR)
    return np.asarray(pixels, dtype=np.float32) / 127.5 - 1.0


def _network(tf: Any, width: float, seed: int, photographs: Any) -> Any:
    """MobileNetV1 with random weights; the same seed gives the same weights, whatever was built before."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    network = tf.keras.applications.MobileNet(
        input_shape=(INPUT_PX, INPUT_PX, 3), alpha=width, weights=None, classes=CLASSES
    )
    _calibrate(tf, network, photographs)
    one = tf.keras.Input((INPUT_PX, INPUT_PX, 3), batch_size=1)
    return tf.keras.Model(one, network(one, training=False))


def _calibrate(tf: Any, network: Any, photographs: Any) -> None:
    """Bring untrained activations and logits to the size that trained ones have.

    Otherwise they fade layer by layer, and a quantised graph would answer 1/256 for every class of every photograph:
    nobody could see from its answers whether it was fed rightly.
    """
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(photographs, training=True)
    last = network.get_layer("conv_preds")
    logits = tf.keras.Model(network.input, last.output)(photographs, training=False)
    kernel, bias = last.get_weights()
    last.set_weights([kernel * (LOGIT_DEVIATION / float(tf.math.reduce_std(logits))), bias])


def _convert(tf: Any, network: Any, dtype: str, io_type: Any, photographs: Any) -> bytes:
    """The network as a TensorFlow Lite flatbuffer."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if dtype == "int8":

        def representative() -> Iterator[list[Any]]:
            for photograph in photographs:
                yield [photograph[None]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = io_type
        converter.inference_output_type = io_type
    return bytes(converter.convert())


if __name__ == "__main__":
    main()

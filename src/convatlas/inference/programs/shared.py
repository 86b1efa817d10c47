"""What the programs share: a session with its card, and an image as the file's input."""

import base64
import json
import zlib

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


# --- begin ---
def open_model(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["convatlas"])


def open_image(path, card):
    grey = card["interface"]["input"]["channel_order"] == "grey"
    return ImageOps.exif_transpose(Image.open(path)).convert("L" if grey else "RGB")


def to_input(image, card):
    entry = card["interface"]["input"]
    x = np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)[None]
    if entry["dtype"] == "uint8":
        return np.ascontiguousarray(x)
    bgr = entry["channel_order"] == "bgr"
    if entry["offset"] is None:  # a mean for each pixel
        mean = zlib.decompress(base64.b64decode(card["preprocessing"]["mean_image"]))
        std = np.reshape(card["preprocessing"]["std"], (1, -1, 1, 1))
        x = (x / 255 - np.frombuffer(mean, "<f2").reshape(x.shape)) / std
        return (x[:, ::-1] if bgr else x).astype(np.float32)
    scale, offset = (np.reshape(entry[name], (1, -1, 1, 1)) for name in ("scale", "offset"))
    return ((x[:, ::-1] if bgr else x) * scale + offset).astype(np.float32)


# --- end ---

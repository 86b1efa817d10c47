"""Writes the mask of an image, a class for every pixel: python net_predict.py net.onnx image.jpg mask.png"""

# ruff: noqa: F821 - the names of shared.py, above which this is put
# pyright: basic, reportUndefinedVariable=false


# --- begin ---
def predict(model, file):
    session, card = open_model(model)
    image, (height, width) = open_image(file, card), card["interface"]["geometry"]["size"]
    margin = card["interface"]["output_margin_px"]
    inner = image.resize((width - 2 * margin, height - 2 * margin), Image.Resampling.BILINEAR)  # with antialiasing
    pixels = np.asarray(inner).reshape(inner.height, inner.width, -1)
    pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    whole = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    logits = session.run(None, {"input": to_input(whole, card)})[0][0]
    planes = [Image.fromarray(plane).resize(image.size, Image.Resampling.BILINEAR) for plane in logits]
    return np.stack([np.asarray(plane) for plane in planes]).argmax(0).astype(np.uint8), card["classes"]


if __name__ == "__main__":
    import sys

    mask, names = predict(sys.argv[1], sys.argv[2])
    Image.fromarray(mask).save(sys.argv[3])
    for label, count in zip(*np.unique(mask, return_counts=True), strict=True):
        print(f"{names[label] if names else label}: {100 * count / mask.size:.2f}% of the pixels")
# --- end ---

"""Prints the most probable classes of an image: python net_predict.py net.onnx image.jpg"""

# ruff: noqa: F821 - the names of shared.py, above which this is put
# pyright: basic, reportUndefinedVariable=false


# --- begin ---
def predict(model, file, top_k=5):
    session, card = open_model(model)
    image, how = open_image(file, card), card["interface"]["geometry"]
    margins = [int((length - length * how.get("middle", 1)) / 2) for length in image.size]
    image = image.crop((*margins, image.width - margins[0], image.height - margins[1]))
    (height, width), side, (w, h) = how["size"], how["resize_to"], image.size
    if how["resize"] == "short_side":
        w, h = (side * w // h, side) if h <= w else (side, side * h // w)
    elif how["resize"] == "fit":
        w, h = (max(1, round(length * side / max(image.size))) for length in (w, h))
    elif how["resize"] == "stretch":
        w, h = side, side
    image = image.resize((w, h), Image.Resampling.BILINEAR)  # Pillow reduces with antialiasing
    left, top = (
        (has - wanted) // 2 if has > wanted else -((wanted - has) // 2) for has, wanted in ((w, width), (h, height))
    )
    image = image.crop((left, top, left + width, top + height))  # black beyond the image
    logits = session.run(None, {"input": to_input(image, card)})[0][0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    names = card["classes"] or [str(place) for place in range(len(logits))]
    return [(names[place], float(probabilities[place])) for place in np.argsort(-probabilities)[:top_k]]


if __name__ == "__main__":
    import sys

    for name, probability in predict(sys.argv[1], sys.argv[2]):
        print(f"{name}: {100 * probability:.2f}%")
# --- end ---

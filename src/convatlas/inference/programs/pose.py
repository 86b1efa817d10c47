"""Prints the joints of the person who fills an image: python net_predict.py net.onnx image.jpg"""

# ruff: noqa: F821 - the names of shared.py, above which this is put
# pyright: basic, reportUndefinedVariable=false


# --- begin ---
def predict(model, file):
    session, card = open_model(model)
    image, (height, width) = open_image(file, card), card["interface"]["geometry"]["size"]
    stride, side = card["interface"]["stride_px"], max(image.size)
    w, h = (max(1, round(length * width / side)) for length in image.size)
    square = Image.new(image.mode, (width, height))  # black beyond the image
    left, top = (width - w) // 2, (height - h) // 2
    square.paste(image.resize((w, h), Image.Resampling.BILINEAR), (left, top))
    maps = session.run(None, {"input": to_input(square, card)})[0][0]
    places = [np.unravel_index(plane.argmax(), plane.shape) for plane in maps]
    names = card["classes"] or [str(place) for place in range(len(maps))]
    joints = []
    for name, (y, x), plane in zip(names, places, maps, strict=True):
        x, y = ((x + 0.5) * stride - left) * side / width, ((y + 0.5) * stride - top) * side / width
        joints.append((name, float(x), float(y), float(plane.max())))
    return joints


if __name__ == "__main__":
    import sys

    for name, x, y, score in predict(sys.argv[1], sys.argv[2]):
        print(f"{name}: {x:.1f}, {y:.1f} ({score:.3f})")
# --- end ---

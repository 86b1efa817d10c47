"""Prints the objects on an image, boxes in its pixels: python net_predict.py net.onnx image.jpg"""

# ruff: noqa: F821 - the names of shared.py, above which this is put
# pyright: basic, reportUndefinedVariable=false


# --- begin ---
def predict(model, file, min_score=0.5):
    session, card = open_model(model)
    image, (height, width) = open_image(file, card), card["interface"]["geometry"]["size"]
    stretched = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow reduces with antialiasing
    boxes, labels, scores = session.run(["boxes", "labels", "scores"], {"input": to_input(stretched, card)})
    factors = np.array([image.width / width, image.height / height] * 2)
    boxes = np.clip(boxes * factors, 0, [image.width, image.height] * 2)
    names = card["classes"] or [str(place) for place in range(card["num_classes"])]
    rows = zip(labels, scores, boxes, strict=True)
    return [(names[label], float(score), box.tolist()) for label, score, box in rows if score >= min_score]


if __name__ == "__main__":
    import sys

    for name, score, (x1, y1, x2, y2) in predict(sys.argv[1], sys.argv[2]):
        print(f"{name} {score:.3f}: {x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}")
# --- end ---

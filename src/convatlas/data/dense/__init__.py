"""Images whose truth has a value at every pixel: masks of classes, heat maps of joints."""

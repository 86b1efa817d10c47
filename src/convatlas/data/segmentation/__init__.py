"""Images with a mask of classes each."""

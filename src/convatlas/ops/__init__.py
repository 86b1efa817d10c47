"""Geometry and algorithms that networks use and that hold no parameters: boxes, anchors, regions, filters, fitting."""

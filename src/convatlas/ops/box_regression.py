"""Ridge regressions from the features of regions to what has to be changed of their boxes.

Girshick et al. 2014, appendix C, as the release fits them.

Shapes   N regions, P features, M targets.
"""

import numpy as np

SPREAD = 0.001  # added to the variances of the targets before they are made equal


def box_regression(near: np.ndarray, codes: np.ndarray, scale: float, strength: float) -> np.ndarray:
    """The box regression of one class, for features and codes as they are.  (N, P + 1), (N, 4) -> (4, P + 1)

    Features times `scale` are fitted to the codes, centred and decorrelated, and the result is brought back to both.
    Of no proposals it is 0: boxes stay as they are.

    Source: `rcnn_train_bbox_regressor.m` and `rcnn_predict_bbox_regressor.m` of rbgirshick/rcnn.
    """
    if not len(codes):
        return np.zeros((4, near.shape[1]))
    scales = np.append(np.full(near.shape[1] - 1, scale), 1.0)  # the constant stays 1
    mean = codes.mean(0, dtype=np.float64)
    centred = codes - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(codes))
    deviations = np.sqrt(np.maximum(variances, 0) + SPREAD)
    whitening, back = ((axes * values) @ axes.T for values in (1 / deviations, deviations))
    weights = (ridge(near * scales, centred @ whitening, strength) @ back).T * scales
    weights[:, -1] += mean
    return weights


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """The weights (D, M) with the least |x w - y|^2 + strength |w|^2.  (N, D), (N, M)

    Solved for the N rows or for the D columns, whichever are fewer.
    """
    rows, columns = x.shape
    if rows < columns:
        return x.T @ np.linalg.solve(x @ x.T + strength * np.eye(rows), y)
    return np.linalg.solve(x.T @ x + strength * np.eye(columns), x.T @ y)

"""Vectors of Euclidean length one, whose products are cosines."""

import numpy as np


def to_length_one(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors to Euclidean length one, in float32; zero stays zero.

    The stock library normalises in the model's type. In bfloat16 that leaves lengths some thousandths off one, so that
    products of two vectors would be no cosines.

    Args:
        vectors (`np.ndarray` of shape `(n, d)`): As a model gives them; changed in place if they are float32.

    Returns:
        `np.ndarray` of shape `(n, d)`, float32.
    """
    vectors = np.asarray(vectors, np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return vectors

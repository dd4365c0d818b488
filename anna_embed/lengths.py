"""Vectors whose products are cosines."""

import numpy as np


def to_length_one(vectors: np.ndarray) -> np.ndarray:
    """Float32 vectors of Euclidean length one; zero stays zero. The stock library scales them in the model's type: by
    bfloat16 each to within some thousandths of one, so that products of two are no cosines.

    Args:
        vectors (`np.ndarray` of shape `(n, d)`): As a model gives them; changed in place if they are float32.
    """
    vectors = np.asarray(vectors, np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return vectors

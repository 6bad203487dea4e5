"""Made-up sounds for tests of published networks."""

import numpy as np


def noise(n_samples: int) -> np.ndarray:
    """Noise whose level changes every thousand samples; the same for the same length."""
    rng = np.random.default_rng(n_samples)
    level = np.repeat(rng.uniform(0, 0.3, -(-n_samples // 1000)), 1000)[:n_samples]
    return (level * rng.standard_normal(n_samples)).astype(np.float32)

import numpy as np

from gan_jax.evaluation import registry


def test_lower_is_better():
    cases = [("fid", 2, 2), ("parzen", 2, -2), ("memorisation", 0.25, 0.25), ("d_loss", 1.5, 1.5)]
    for name, value, expected in [*cases, ("density", 1.25, 0.25), ("memorisation", 0.75, 0.25)]:
        assert registry.lower_is_better(name, float(value)) == expected
    array = np.array([[np.nan, 2.0], [-3.0, 0.75]])
    assert [registry.best(n, array) for n in ("fid", "parzen", "density")] == [-3, 2, 0.75]
    assert np.isnan(registry.best("fid", np.full(3, np.nan)))


def test_titles():
    assert registry.METRICS["fid"].title == "FID (lower is better)"
    assert registry.METRICS["density"].title == "density (1 is best)"

"""Drawing from the posterior of a unit: Laplace, PSIS, NUTS."""

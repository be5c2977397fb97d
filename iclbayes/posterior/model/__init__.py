"""Priors, likelihoods, discrepancy: the numpyro model of a unit."""

"""Values, labels, grids, matchers, tenants and errors: the vocabulary of all other rooms of the shim."""

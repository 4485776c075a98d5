"""Training a fraction of the parameters, compared with training all of them."""

"""Who may do what: scopes, keys and their limits, published queries. Pure but for the file of keys."""

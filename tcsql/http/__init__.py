"""HTTP: a pure grammar and renderer, endpoints without a framework, and the lanes that carry them."""

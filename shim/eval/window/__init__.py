"""Windows of samples: the record of a function over them, and how it is evaluated."""

"""Windows of samples: the record of a function over them, and its evaluation."""

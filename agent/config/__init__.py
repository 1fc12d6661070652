"""Reading of settings: values, files, environment, and errors that name the place."""

"""The two cores, native and Python, with one interface: lines in, frames out."""

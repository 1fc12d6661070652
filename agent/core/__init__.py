"""The two cores, native and Python, behind one interface: lines in, frames out."""

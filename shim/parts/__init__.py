"""The parts of a running shim (shim/service.py): how each is opened, and how it ends."""

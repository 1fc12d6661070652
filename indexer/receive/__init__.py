"""Receives frames and messages over HTTP, checks them, and hands them to the writer."""

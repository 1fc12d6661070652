"""Tests of agent/exposition."""

"""Driving the agent's cores side by side: packets made at random, scenarios, results, and shrinking."""

"""Which process evaluates which tick, for rules and subscriptions: due ticks, their spread, leases."""

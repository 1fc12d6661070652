"""SnQL: Snuba's query language over the stored types, on the tables, limits and tenancy that PromQL uses."""

"""The steps from a parsed query to a plan, a file each, under the names that the seeds have."""

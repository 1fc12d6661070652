"""The steps from a parsed query to a plan, one file each, named after the seeds' processors and validators."""

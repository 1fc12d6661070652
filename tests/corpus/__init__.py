"""The protocol corpus: what becomes of each line, as a table that people review and all cores are held to."""

"""The protocol corpus: the result of each line, as a table that people review and all cores are held to."""

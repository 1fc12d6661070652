"""The native core under sanitizers: instrumented builds, the corpus, and packets that a fuzzer makes up."""

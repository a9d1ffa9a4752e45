"""Runtime: threads, memory, files written whole, gzip streams, the ledger."""

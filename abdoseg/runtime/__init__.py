"""What every room needs of the computer: threads, memory, files written whole, gzip streams, the ledger."""

"""What the benchmarks of PostgreSQL share: loads, a meter of the server, a proxy that counts round trips."""

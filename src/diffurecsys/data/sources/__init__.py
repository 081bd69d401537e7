"""Own data: any file of interactions that DuckDB reads, described by one entry of datasets.yml."""

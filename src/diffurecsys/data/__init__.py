"""Data layer: acquisition, k-core filtering, sequences, splits and packed batches."""

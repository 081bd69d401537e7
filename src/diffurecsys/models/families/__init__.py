"""One file a family of rankers; each defines `FAMILY`, named like the file. Nothing else lists them."""

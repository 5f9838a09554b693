"""Linear algebra: least squares, non-negative least squares, k-means."""

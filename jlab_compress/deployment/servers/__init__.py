"""Server repositories, and servers to try them on."""

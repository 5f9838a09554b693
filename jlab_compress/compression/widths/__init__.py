"""What widths a caller asks for, and what error to expect of them."""

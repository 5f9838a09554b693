"""The slim model: its plan, its weighted layers, how units are read and written, saving and loading."""

"""Which pages real programs write, and when: recording, the file format, figures, numbers."""

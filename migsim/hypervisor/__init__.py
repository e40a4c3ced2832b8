"""Real hypervisors: the format of recorded migrations, and running QEMU to record more."""

"""Many migrations at once: hosts, networks and virtual machines, planned, run and recorded."""

"""migsim: a testbed for the algorithms of virtual-machine live migration."""

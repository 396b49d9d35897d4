# dom0's address, for the scripts that set up its network.
ADDRESS=10.0.2.15

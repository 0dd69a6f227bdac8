"""The command line of wsrpn: each command reads files, calls one library function, writes files."""

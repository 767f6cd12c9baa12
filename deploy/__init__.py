"""The `avm` command, a local cluster, the demonstration."""

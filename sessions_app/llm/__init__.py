"""The only door to a model provider. `gateway.complete` is the way in; read that file first."""

"""One mixin an interface: what every implementation of it must do."""

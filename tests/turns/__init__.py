"""The costliest inputs that each door admits: no turn of the reactor is long for them."""

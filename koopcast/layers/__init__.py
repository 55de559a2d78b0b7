"""Parts that networks share; tensors are channels-last, `(batch, *space, channel)`."""

"""The HTTP faces: our server protocol, the model routes, and the control plane beside them."""

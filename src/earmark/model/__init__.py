"""The network of the paper: front end, backbone, pooling and classifier."""

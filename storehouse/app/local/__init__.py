"""A root without a service: what commands do on its files. Beside the service, the only one that names concrete classes."""

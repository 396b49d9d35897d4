"""The life of a domain: create, watch its console, end."""

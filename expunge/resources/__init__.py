"""The client's calls, one file a resource of the service."""

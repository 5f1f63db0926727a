"""Callers that an OpenID Connect issuer vouches for: bearer tokens beside API keys."""

"""What OpenDSR controllers are told, and how they know that it is us who tells."""

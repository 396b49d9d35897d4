"""From an image to an EBS snapshot by the EBS direct API: only what changed, and again where it stopped."""

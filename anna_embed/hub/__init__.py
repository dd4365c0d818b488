"""What people browse: cards rendered from manifests, and artifact folders published as one commit and one tag."""

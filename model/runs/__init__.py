"""What a run leaves in its folder, and looking at many of them."""

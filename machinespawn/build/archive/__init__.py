"""Archives unpacked into a tree: detect what one is, read it in bounds, write only inside the tree."""

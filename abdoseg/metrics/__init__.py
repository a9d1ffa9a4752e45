"""Agreement of two masks, in overlap and in distance between surfaces."""

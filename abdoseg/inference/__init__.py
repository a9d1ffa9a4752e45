"""From an image to organ maps: sliding window, coarse-to-fine, CPU backends, post-processing."""

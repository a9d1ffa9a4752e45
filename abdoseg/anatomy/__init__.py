"""What is known of a body: organs and their codes, label schemes of datasets, tissues, reference ranges."""

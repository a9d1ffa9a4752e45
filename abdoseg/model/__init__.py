"""Networks, the plan that says how to use them, their weights, and the device they run on."""
